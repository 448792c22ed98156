// Searches and trials as /api/v1 answers them.

export type SearchState = "queued" | "running" | "done" | "failed" | "cancelled";
export type Stage = "predicted" | "evaluated" | "measured";
export type Cost = "latency_us" | "artifact_bytes" | "memory_bytes" | "energy_mj";

/** Hard limits; null: none. */
export interface SearchBudget extends Record<Cost, number | null> {
  max_drop: number | null; // a fraction
}

export interface SearchSummary {
  id: string;
  model: string;
  profile: string;
  dataset: string | null;
  budget: SearchBudget;
  budget_words: string;
  options: { seconds: number; workers: number; trials?: number; device?: string; seed?: number };
  state: SearchState;
  step: string;
  message: string;
  cancelling: boolean;
  progress: number;
  spent_s: number;
  workers: number;
  trials: { running: number; done: number; failed: number };
  chosen: string | null;
  offered: string | null;
  reason: string;
  finding: string | null;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  actor: string | null;
}

export interface Measurement {
  digest: string;
  device: string;
  state: "asked" | "rolling_out" | "profiling" | "done" | "failed";
  message: string;
  rollout: string | null;
}

export interface Search extends SearchSummary {
  basis: string; // what predictions rest on
  front: number[];
  best: number | null;
  nearest: number | null;
  blocked: string[];
  notes: string[];
  measurements: Measurement[];
}

/** Null: not known. `*_basis` in words. */
export interface TrialFigures extends Record<Cost, number | null> {
  accuracy: number | null;
  drop: number | null;
  loss: number | null; // the drop that the budget is judged by
  loss_error: number | null;
  samples: number | null;
  split: string | null;
  accuracy_basis: string | null;
  latency_error: number | null;
  latency_basis: string | null;
  bytes_basis: string | null;
  memory_basis: string | null;
  energy_basis: string | null;
  predicted: string[]; // names of figures that were not measured
}

export interface Step {
  name: string;
  options?: Record<string, unknown>;
}

export interface Trial {
  number: number; // 0: the model as it is
  state: "running" | "done" | "failed";
  stage: Stage;
  title: string;
  reason: string;
  recipe: { name?: string; description?: string; coding?: string; passes?: Step[] };
  figures: TrialFigures | null;
  tested: TrialFigures | null;
  within: boolean | null;
  on_front: boolean;
  error: string | null;
  seconds: number | null;
  attempts: number;
  artifact: string | null;
}

export interface TrialDetail extends Trial {
  toml: string;
}
