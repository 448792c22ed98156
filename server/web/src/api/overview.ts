// GET /telemetry/overview: everything of the fleet page in one answer. Times are Unix ms, null = absent.

export const HEAT = ["latency_p95_us", "error_ratio", "cpu_percent", "temp_c", "rss_bytes", "power_mw"] as const;
export type HeatMetric = (typeof HEAT)[number];

export interface FleetFigures {
  p50_us: number | null;
  p95_us: number | null;
  p99_us: number | null;
  inferences_per_s: number | null;
  errors_per_s: number | null;
  error_ratio: number | null; // 0..1
  rss_bytes: number | null; // mean of a device
  mem_ratio: number | null; // 0..1
  cpu_percent: number | null;
  temp_c: number | null;
  throttled: number | null; // share of the time, 0..1
  energy_mj: number | null;
  power_mw: number | null; // now: the sum of the devices that tell
}

export interface FleetNow extends FleetFigures {
  power_devices: number;
  power_estimated: number;
}

export type Severity = "critical" | "warning";

export interface Problem {
  kind: string;
  severity: Severity;
  count: number;
  devices: string[]; // at most 20
  profile: string | null;
  model: string | null;
  digest: string | null;
  since: number | null;
  sentence: string;
  link: string | null;
}

export interface Mover {
  kind: "device" | "group";
  device: string | null;
  profile: string | null;
  digest: string | null;
  model: string | null;
  metric: string;
  title: string;
  unit: string;
  now: number;
  usual: number;
  factor: number;
  devices: number;
  since: number | null;
  sentence: string;
}

export interface HeatAnswer {
  metric: string;
  title: string;
  unit: string;
  groups: HeatAnswerGroup[];
  left_out: number;
}

export interface HeatAnswerGroup {
  profile: string;
  names: string[];
  status: string; // one letter a device: o online, f offline, r registered
  values: (number | null)[];
  problem: string; // one digit a device: 0 none, 1 warning, 2 critical
}

export interface RunningArtifact {
  digest: string;
  model: string | null;
  recipe: string | null;
  release: number | null;
  devices: number;
  online: number;
  p95_us: number | null;
  error_ratio: number | null;
  inferences_per_s: number | null;
}

export interface Overview {
  at: number;
  age_ms: number;
  devices: { total: number; online: number; offline: number; registered: number; revoked: number };
  agents: { version: string; devices: number; online: number }[];
  running: RunningArtifact[];
  running_left_out: number;
  rollouts: unknown[]; // the page reads /rollouts, which says more
  now: FleetNow;
  usual: FleetFigures; // of the last 24 hours
  sparklines: { t: number[]; step_ms: number; series: Record<string, (number | null)[]> };
  heat: HeatAnswer;
  movers: { at: number | null; seen: number; of: number; list: Mover[] };
  problems: { total: number; list: Problem[] };
}
