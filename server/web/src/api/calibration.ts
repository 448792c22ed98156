// What /api/v1 answers about profiling jobs and calibrations. Rates are per microsecond; null = absent.

export type ProfilingState = "queued" | "sent" | "running" | "done" | "failed" | "expired" | "cancelled";
export interface ProfilingJob {
  id: string;
  device: string;
  profile: string;
  what: "device" | "model";
  digest: string | null;
  seconds: number;
  state: ProfilingState;
  percent: number;
  message: string;
  created_at: number;
  expires_at: number;
  finished_at: number | null;
}

export interface NetTime {
  net: string;
  form: string;
  p10_us: number;
  p50_us: number;
  mean_us: number;
  ci95_us: number;
  runs: number;
  outliers: number;
}
export interface ProfilingReport {
  at: number;
  usable: boolean;
  unusable_reason: string;
  runtime: string;
  threads: number;
  nets: NetTime[];
  kernel_count: number;
  skipped: { net: string; form: string; reason: string }[];
  throttled_runs: number;
  outliers: number;
  temp_c_before: number | null;
  temp_c_after: number | null;
  clock_mhz: number | null;
  idle_mw: { value: number; method: string; scope: string } | null;
  busy_mw: { value: number; method: string; scope: string } | null;
  other_cpu_percent: number | null;
  inferences: number;
  cut_short: boolean;
  reason: string | null;
  seconds: number | null;
}
export interface ProfilingDetail extends ProfilingJob {
  report: ProfilingReport | null;
}

export interface KindFit {
  kind: string;
  operations_per_us: number | null;
  bytes_per_us: number;
  overhead_us: number;
  samples: number;
  error: number | null;
  datasheet_operations_per_us: number;
  datasheet_bytes_per_us: number;
}
export type CalibrationState = "active" | "kept" | "replaced" | "reverted";
export interface Calibration {
  id: number;
  state: CalibrationState;
  at: number;
  message: string;
  actor: string | null;
  runtime: string;
  threads: number;
  devices: string[];
  rejected: { device: string; reason: string }[];
  samples: number;
  error_before: number | null;
  error_after: number;
  error: { operator_median: number; model_median: number; model_worst: number; n: number };
  power: { idle_mw: number; busy_mw: number; method: string; scope: string } | null;
  kinds: KindFit[];
}
export interface ArtifactError {
  digest: string;
  model: string;
  recipe: string;
  devices: number;
  inferences: number;
  measured_p50_us: number;
  predicted_us: number;
  basis: string;
  expected_error: number | null;
  error: number;
}
export interface CalibrationStatus {
  active: Calibration | null;
  newest: Calibration | null;
  stale: boolean;
  pending: boolean;
  fit: { running: boolean; message: string; at: number } | null;
  errors: ArtifactError[];
}
