// What /api/v1 answers, as this UI reads it. Times are Unix milliseconds; null = absent, never 0 or -1.

export type Role = "viewer" | "operator" | "admin";
export interface Session {
  person: string;
  role: Role;
  csrf: string;
}

export interface Token {
  id: string;
  name: string;
  person: string;
  role: Role | null; // at most this; null: whatever its person may do
  created_at: number;
  last_used_at: number | null;
  expires_at: number | null; // null: until it is revoked
  revoked_at: number | null;
}
export interface NewToken extends Token {
  token: string;
}

export interface Profile {
  id: string;
  name: string;
  kind: string;
}

export type Basis = "datasheet" | "measured" | "derived" | "estimate";
/** A table with numbers says where they come from. */
export interface Sourced {
  source: string;
  basis: Basis;
  arithmetic?: string | null;
}
interface Reasoned {
  reason: string;
}
export interface Compute {
  fp32: { gflops: number } & Sourced;
  fp16?: ({ gflops: number } & Sourced) | null;
  int8?: ({ gops: number } & Sourced) | null;
}
export type ProfileOrigin = "shipped" | "own" | "override";
/** A profile with what it inherits filled in; docs/profiles.md has every field. */
export interface ProfileDetail extends Profile {
  origin: ProfileOrigin;
  inherits: string | null;
  updated_at: number | null;
  toml?: string; // where one profile was asked for: as it was written
  notes: string;
  cpu: { model: string; machine: string; isa: string; cores: number; clock_mhz: number; threads: number } & Sourced;
  compute: Compute;
  gpu?: ({ model: string; clock_mhz: number; compute: Compute } & Sourced) | null;
  memory: {
    ram_mib: number;
    kind: string;
    usable: { mib: number } & Sourced;
    bandwidth: { gb_per_s: number } & Sourced;
    cache: { l1d_bytes: number; l2_bytes: number; l3_bytes?: number | null } & Sourced;
  } & Sourced;
  storage: { kind: string; read_mb_per_s: number } & Sourced;
  runtime: { engine: string; providers: string[] } & Reasoned;
  int8: { activations: "u8" | "s8" | null } & Reasoned;
  int4: { supported: boolean } & Reasoned;
  fp16: { supported: boolean } & Reasoned;
  layout?: ({ preferred: "nchw" | "nchwc" | "nhwc" } & Reasoned) | null;
  power: { idle_mw: number; typical_mw: number; tdp_mw: number; sensors: string[] } & Sourced;
  network: { kinds: string[]; down_mbit_per_s: number } & Sourced;
}
export interface ProfileProblem {
  path: string;
  message: string;
  fix: string;
  level: "error" | "warning";
}

/** A number with where it came from: an estimate never wears a measurement's name. */
export interface Reading {
  value: number;
  method: string;
  scope: string;
}

export interface Sample {
  at_ms: number;
  interval_ms: number;
  artifact: string | null;
  inferences: number;
  errors: number;
  p50_us?: number | null;
  p95_us?: number | null;
  p99_us?: number | null;
  rss_bytes: number | null;
  mem_used_bytes: number | null;
  mem_total_bytes: number | null;
  cpu_percent: number | null;
  temp_c: number | null;
  throttled: boolean | null;
  power_mw: Reading | null;
  energy_mj: Reading | null;
  battery_percent: number | null;
  agent_cpu_percent: number | null;
  disk_free_bytes: number | null;
}

export interface Hardware {
  machine?: string;
  system?: string;
  board?: string | null;
  cores?: number | null;
  ram_bytes?: number | null;
  python?: string | null;
  onnxruntime?: string | null;
}

export type DeviceStatus = "registered" | "online" | "offline" | "revoked";
export type JobStep =
  | "idle"
  | "fetching"
  | "verified"
  | "staged"
  | "trial"
  | "committed"
  | "rejected"
  | "failed"
  | "rolled_back";

export interface Device {
  name: string;
  profile: string;
  labels: Record<string, string>;
  created_at: number;
  enrolled_at: number | null;
  revoked_at: number | null;
  credentials_at: number | null; // when what it shows to the broker was made
  certificate_expires_at: number | null; // null: it shows a secret
  cloned_at: number | null; // when two boards were last seen with this identity
  status: DeviceStatus;
  seen_at: number | null;
  agent_version: string | null;
  hardware: Hardware | null;
  running: { digest: string; model: string | null; recipe: string | null; release_counter: number | null } | null;
  step: JobStep;
  reason: string | null;
  staged: string | null;
  chunks_have: number | null;
  chunks_total: number | null;
  waiting: string | null; // why its download does not go on now
  received_bytes: number | null; // of chunks, for this job
  via: "mqtt" | "https" | null;
  delta: boolean; // the job fetches, or fetched, a delta
  root: number | null; // version of the TUF root that it trusts
  trial: Trial | null;
  want: { digest: string | null; counter: number; rollout: string | null } | null;
  latest: Sample | null;
}

/** What the newest trial or shadow run saw. */
export interface Trial {
  requests: number; // live requests that both models answered
  agreed: number;
  p95_us: number | null;
  base_p95_us: number | null;
  rss_bytes: number | null;
}

export interface Registration {
  device: Device;
  code: string;
  expires_at: number;
  enrol_url: string;
  qr_svg: string;
}

export interface Port {
  name: string;
  shape: (number | string | null)[];
  dtype: string;
}

export interface Model {
  name: string;
  bytes: number;
  weight_bytes: number;
  parameters: number;
  macs: number | null;
  inputs: Port[];
  outputs: Port[];
  dataset: string | null;
  note: string;
  created_at: number;
  artifacts: ArtifactSummary[];
  jobs: Job[];
}

export interface ArtifactSummary {
  digest: string;
  model: string;
  profile: string;
  recipe: string;
  bytes: number;
  report: unknown; // only bytes, accuracy and latency; read through plot/report.ts, as another package writes it
  created_at: number;
}
export type Artifact = ArtifactSummary; // with the whole report

export interface Dataset {
  name: string;
  task: string;
  summary: unknown;
  path?: string | null;
  blob?: string | null;
  created_at: number;
}

export interface Recipe {
  name: string;
  description: string;
  source: string; // the paper; empty: our own
  kind: string; // the family of its methods
  needs: "none" | "unlabelled" | "labelled";
  lacks: string | null; // what it needs and the data set asked about does not have
  takes_budget: boolean;
}

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";
export interface Job {
  id: string;
  kind: string;
  model: string;
  recipe: string;
  profile: string;
  dataset: string | null;
  state: JobState;
  progress: number;
  step: string;
  message: string;
  artifact: string | null;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
}

export interface Release {
  id: string;
  model: string;
  counter: number;
  artifacts: Record<string, string>;
  note: string;
  created_at: number;
  actor: string | null;
  state: "awaiting_signature" | "signed" | "withdrawn";
  signatures: number;
  signatures_needed: number;
  withdrawn_at: number | null;
  withdrawn_reason: string;
  rollback: boolean; // it goes back to artifacts of before, on purpose
  standby_for: string | null;
}

export type PushState = "compressing" | "releasing" | "rolling_out" | "done" | "failed";
export interface Push {
  id: string;
  model: string;
  recipe: string;
  dataset: string | null;
  devices: string[];
  state: PushState;
  jobs: Job[]; // empty where every artifact was there already
  release: string | null;
  rollout: string | null;
  message: string;
}

export interface Fleet {
  devices: { total: number; online: number; offline: number; registered: number; revoked: number };
  latency: { p50_us: number | null; p95_us: number | null; p99_us: number | null };
  inferences_per_s: number | null;
  power_mw: number | null; // sum over the devices that tell
  power_devices: number; // how many tell
  power_estimated: number; // how many of those estimate
}

export interface Series {
  t: number[];
  step_ms?: number; // as the server used it
  series: Record<string, (number | null)[]>;
  methods?: Record<string, string | null>;
}

export interface Change {
  id: number;
  at: number;
  kind: string;
  subject: string;
  action: string;
  actor?: string | null;
  data: Record<string, unknown>;
}

export interface Health {
  status: string;
  version: string;
  roles: Record<string, "ok" | "down">;
  mqtt_connected: boolean;
}
