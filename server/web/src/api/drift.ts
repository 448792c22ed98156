// Drift and sampled inputs, as /api/v1 answers them. Times are Unix milliseconds; null = absent.

export type Verdict = "stable" | "some" | "moved" | "unknown";

export interface DriftFigures {
  requests: number;
  input_psi: number | null;
  input_ks: number | null;
  output_psi: number | null;
  output_ks: number | null;
  worst: string | null;
}
export interface DriftFeature {
  name: string;
  of: "input" | "answer";
  psi: number | null;
  ks: number | null;
  mean: number | null;
  edges: number[]; // bin i holds edges[i-1] < x <= edges[i], the outer ones are open
  expected: number[]; // shares, one more than edges
  actual: number[] | null;
  counts: number[];
  step_psi: (number | null)[];
  step_ks: (number | null)[];
}
export interface Drift {
  device: string | null;
  artifact: string | null;
  model: string | null;
  artifacts: string[];
  from_ms: number;
  to_ms: number;
  baseline_rows: number | null;
  verdict: Verdict;
  why_unknown: string | null;
  whole: DriftFigures | null;
  features: DriftFeature[];
  classes: { labels: string[]; expected: number[]; actual: number[] | null; counts: number[] } | null;
  confidence: { expected: number[]; actual: number[] | null; counts: number[] } | null;
  steps: {
    t: number[];
    step_ms: number;
    requests: number[];
    input_psi: (number | null)[];
    input_ks: (number | null)[];
    output_psi: (number | null)[];
    output_ks: (number | null)[];
  } | null;
}

export interface SampledInput {
  id: string;
  device: string;
  received_at: number;
  at: number;
  artifact: string;
  why: "random" | "low confidence" | "drift";
  name: string;
  dtype: string;
  shape: number[];
  label: number | null;
  confidence: number | null;
  bytes: number;
}
export interface InputValues extends SampledInput {
  values: (number | null)[];
}

export interface SamplingRule {
  per_hour: number;
  low_confidence_percent: number;
}
export interface DeviceSampling {
  own: (SamplingRule & { subject: string; updated_at: number; actor: string | null }) | null;
  counts: SamplingRule;
}
