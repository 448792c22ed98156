// Telemetry as questions and answers, as /api/v1 gives them. Times are Unix milliseconds; null = absent.

export type Aggregate = "mean" | "min" | "max" | "sum" | "rate" | "throughput" | "count" | "ratio" | "p50" | "p90" | "p95" | "p99";
export interface MetricFacts {
  name: string;
  unit: string;
  title: string;
  aggregates: Aggregate[];
  aggregate: Aggregate; // the usual one
  kind?: "count" | "gauge" | "flag"; // absent: a histogram
}
export interface Catalogue {
  metrics: MetricFacts[];
  histograms: MetricFacts[];
  group_by: string[];
  labels: string[]; // keys in use
  series_max: number;
  points_max: number;
}

export interface QuerySeries {
  name: string;
  title: string;
  values: (number | null)[];
  total: number | null; // the same aggregate over the whole range
  samples: number;
  devices: number | null; // null: a group's own rows were read, which count no devices
}
export interface QueryAnswer {
  metric: string;
  aggregate: Aggregate;
  group_by: string;
  where: string | null;
  from: number;
  to: number;
  step_ms: number;
  tier: "raw" | "minute" | "hour";
  title: string;
  unit: string;
  t: number[];
  series: QuerySeries[];
  left_out: number;
  left_out_devices: number;
  devices: number | null;
  notes: string[];
  age_ms: number;
}

/** What was measured of some devices in some time. */
export interface Figures {
  devices: number | null;
  inferences: number;
  p50_us: number | null;
  p95_us: number | null;
  p99_us: number | null;
  mean_us: number | null;
  queue_p95_us: number | null;
  rss_bytes: number | null;
  rss_most_bytes: number | null;
  cpu_percent: number | null;
  temp_c: number | null;
  throttled: number | null;
  power_mw: number | null;
  energy_mj: number | null;
  errors: number;
  error_ratio: number | null;
  inferences_per_s: number | null;
  agreement: number | null;
  compared: number | null;
  input_psi: number | null;
  output_psi: number | null;
  confidence: number | null;
}
export type FieldSeries = Record<string, (number | null)[]>;

export interface FieldArtifact {
  digest: string;
  profile: string;
  recipe: string;
  bytes: number;
  release: number | null;
  created_at: number;
  devices: number;
  online: number;
  figures: Figures;
  series: FieldSeries;
  predicted: { latency_us: number; basis: string; error: number | null } | null;
  measured: {
    p50_us: number | null;
    p95_us: number | null;
    devices: number;
    inferences: number;
    rss_bytes: number | null;
    energy_mj: number | null;
    energy_method: string | null;
    since_at: number;
    until_at: number;
  } | null;
  ratio: number | null; // predicted / measured p50
}
export interface FieldRelease {
  id: string;
  counter: number;
  created_at: number;
  profiles: {
    profile: string;
    digest: string;
    previous: string | null;
    first_at: number | null;
    before: Figures | null;
    after: Figures | null;
  }[];
}
/** A model in the field: what its artifacts do on the devices that run them. */
export interface Field {
  model: string;
  from: number;
  to: number;
  step_ms: number;
  tier: string;
  t: number[];
  artifacts: FieldArtifact[];
  profiles: { profile: string; devices: number; online: number; running: Record<string, number> }[];
  releases: FieldRelease[];
  left_out: number;
}

export interface Arm {
  devices: number;
  names: string[];
  figures: Figures | null;
  series: FieldSeries;
}
/** The devices of a rollout beside devices of the same profile that were not told. */
export interface Compare {
  rollout: string;
  model: string;
  release: number | null;
  state: string;
  from: number;
  to: number;
  step_ms: number;
  tier: string;
  t: number[];
  told_at: number | null;
  profiles: { profile: string; digest: string; canary: Arm; control: Arm; before: Figures | null }[];
}

export interface Happening {
  at: number;
  until: number | null;
  kind: string; // release, rollout, device, alert, finding
  subject: string;
  title: string;
  text: string;
  model: string | null;
  profile: string | null;
  device: string | null;
  count: number;
  severity: string | null;
}
export interface Happenings {
  annotations: Happening[];
  merged: boolean;
}
