// Rollouts by stages, as /api/v1 answers them. Times are Unix milliseconds; null = absent.

import type { DeliveryRules } from "./delivery";
import type { Release } from "./types";

export type RolloutState =
  | "draft"
  | "signed"
  | "canary"
  | "ramp"
  | "soak"
  | "done"
  | "paused"
  | "aborted"
  | "rolling_back";
export type RolloutDeviceState =
  | "waiting"
  | "wanted"
  | "fetching"
  | "trial"
  | "committed"
  | "failed"
  | "skipped"
  | "unreached";
export type RolloutCounts = Partial<Record<RolloutDeviceState, number>>;

export interface Wave {
  percent: number; // of each profile's devices, canaries and earlier waves included
  soak_s: number;
  approve: boolean;
}
export interface Gates {
  max_failure_ratio: number | null;
  p95_us: number | null;
  p95_ratio: number | null;
  rss_bytes: number | null;
  energy_ratio: number | null;
  min_agreement: number | null;
  confidence: number;
  min_devices: number;
  min_inferences: number;
}
export interface ShadowRules {
  seconds: number;
  requests: number;
  min_agreement: number;
  min_requests: number;
}
export interface Policy {
  canary_per_profile: number;
  canary_profiles: Record<string, number>;
  approve_canary: boolean;
  waves: Wave[];
  rate_per_minute: number | null;
  max_in_flight: number | null;
  max_failed: number | null;
  gates: Gates;
  on_gate: "pause" | "rollback";
  start_at_ms: number | null;
  hours: string[];
  timezone: string;
  stage_timeout_s: number | null;
  deadline_ms: number | null;
  late_joiners: boolean;
  shadow: ShadowRules | null;
  delivery: Omit<DeliveryRules, "fleet_rate_bytes_s"> | null;
  delta: "prefer" | "only" | "never";
  soak_s: number;
  limits: { p95_us: number | null; rss_bytes: number | null };
}
export interface Target {
  profiles: string[];
  labels: Record<string, string>;
  groups: string[];
  query: string;
}

export interface Approval {
  wave: number;
  at: number;
  actor: string | null;
}
export interface Rollout {
  id: string;
  release: Release;
  state: RolloutState;
  reason: string;
  policy: Policy;
  created_at: number;
  stage_since: number;
  finished_at: number | null;
  actor: string | null;
  counts: RolloutCounts;
  resume_state: RolloutState | null;
  wave: number; // 0: canaries
  waiting: string; // what it waits for, in words
  begun_at: number | null;
  settled_at: number | null; // since when the devices that its stage reached are settled
  approvals: Approval[];
  target: Target | null; // null: the devices were named
  awaits_approval: number | null; // the stage that a person has to approve now
  rollback_of: string | null;
  rolled_back_by: string[];
}

export type What =
  | "created"
  | "signed"
  | "approved"
  | "begun"
  | "passed"
  | "promoted"
  | "joined"
  | "unreached"
  | "waiting"
  | "gate"
  | "overruled"
  | "paused"
  | "resumed"
  | "aborted"
  | "rolling_back"
  | "rolled_back"
  | "done";
export interface Decision {
  id: number;
  at: number;
  wave: number; // the stage then; 0: canaries
  what: What;
  why: string;
  actor: string | null; // null: the server
}

export interface Verdict {
  gate: string;
  profile: string;
  state: "kept" | "missed" | "undecided";
  words: string;
}

export interface Timeline {
  at: number[];
  counts: Record<string, number[]>; // device state -> how many from each moment on
}

export interface RolloutDevice {
  device: string;
  profile: string;
  digest: string;
  stage: "canary" | "ramp";
  wave: number; // 0: canary
  state: RolloutDeviceState;
  reason: string;
  updated_at: number;
  told_at: number | null;
  chunks_have: number | null;
  chunks_total: number | null;
  online: boolean;
  previous_digest: string | null; // what it was to run before
  waiting: string | null; // why its download does not go on, as it says
  delta: boolean; // it fetches, or fetched, a delta
  via: "mqtt" | "https" | null; // how its chunks come
}
export interface RolloutDevicePage {
  total: number; // that the filter fits
  devices: RolloutDevice[];
}

/** What a rollout would do. */
export interface Plan {
  release: string;
  devices_total: number;
  profiles: PlannedProfile[];
  left_out: LeftOut[]; // the first 1000
  left_out_total: Record<string, number>; // reason's code -> devices
  server_bytes: number;
  device_bytes: number;
  device_bytes_full: number; // without deltas
  missing: string[];
}
export interface PlannedProfile {
  profile: string;
  digest: string;
  bytes: number; // of the artifact
  devices: number;
  online: number;
  waves: number[]; // devices of each stage; the first number: canaries
  deltas: number; // devices for which a delta is ready
  delta_bytes: number; // that these devices fetch together
}
export interface LeftOut {
  device: string;
  profile: string;
  code: string;
  reason: string;
}

export interface Group {
  name: string;
  query: string;
  note: string;
  created_at: number;
  updated_at: number;
  actor: string | null;
  devices_total: number;
  devices: string[]; // the first 1000; empty in lists
}
export interface Matches {
  devices_total: number;
  devices: string[]; // the first 1000
}
