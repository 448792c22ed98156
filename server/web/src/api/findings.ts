// Budgets, and what devices were found to miss.

export type FindingKind = "latency" | "memory" | "energy" | "prediction";
export type FindingScope = "profile" | "device";
export type FindingState = "open" | "proposed" | "calibrating" | "searching" | "released" | "resolved" | "dismissed";

export interface FindingStep {
  number: number;
  at: number;
  what: string;
  sentence: string;
  about: string | null; // search, rollout, profile
  about_id: string | null;
}

export interface Finding {
  id: string;
  kind: FindingKind;
  scope: FindingScope;
  model: string;
  profile: string;
  digest: string;
  rollout: string | null;
  measured: number;
  limit: number;
  predicted_us: number | null;
  devices: string[];
  judged: number;
  inferences: number;
  since: number;
  sentence: string;
  state: FindingState;
  message: string;
  accepted_by: string | null;
  search: string | null;
  chosen: string | null;
  release: string | null;
  new_rollout: string | null;
  attempts: number;
  next_try_at: number | null;
  created_at: number;
  updated_at: number;
  ended_at: number | null;
  steps: FindingStep[];
}

export interface BudgetNow {
  digest: string;
  kind: FindingKind;
  scope: FindingScope;
  state: "missed" | "kept" | "unclear";
  measured: number;
  limit: number;
  devices: string[];
  judged: number;
  inferences: number;
}

export interface Budget {
  model: string;
  profile: string;
  latency_us: number | null;
  memory_bytes: number | null;
  energy_mj: number | null;
  artifact_bytes: number | null;
  max_drop: number | null;
  prediction_error: number | null;
  auto: boolean;
  window_s: number;
  sustained_minutes: number;
  profiling_s: number;
  search: Record<string, unknown>;
  source: string | null;
  words: string;
  updated_at: number;
  actor: string | null;
  now: BudgetNow[];
}
