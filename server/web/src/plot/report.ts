// A compression report (docs/report.md) as the plots need it. The report is written by another package and may grow:
// what is absent or of another shape becomes null, and the page shows a dash.

export interface Interval {
  value: number; // share 0..1, or mAP
  low: number | null; // 95 % confidence
  high: number | null;
}

export interface Stage {
  name: string;
  seconds: number | null;
  bytes: number | null;
  nonzero: number | null; // share of weights that are not zero
  bits: number | null; // mean bits a weight
  accuracy: number | null; // on data that is not the test split
  note: string | null;
  flops: number | null; // of one sample
  parameters: number | null;
  sparsity: number | null; // share of the parameters that are zero
  peakBytes: number | null; // of activations
  latencyUs: number | null; // on this server
  speedup: number | null; // of the original in the same turns
  sensitivity: Sensitivity[];
  filters: Filter[];
}

/** The loss when one tensor alone has fewer weights or bits; the most sensitive tensor first. */
export interface Sensitivity {
  by: "sparsity" | "bits";
  curves: Curve[];
}
export interface Curve {
  name: string;
  points: { x: number; y: number }[];
}
export interface Filter {
  group: string;
  alive: number;
  of: number;
}

export interface Costs {
  flops: number | null;
  parameters: number | null;
  sparsity: number | null;
  peakBytes: number | null;
}

export interface TensorBytes {
  name: string;
  shape: number[];
  dtype: string | null;
  coding: string;
  bytes: number;
  rawBytes: number | null; // of the same part in the decoded ONNX file
  // what follows is null in reports before artifact version 2, and for header and skeleton
  weights: number | null; // elements of the tensor
  nonzeroBytes: number | null; // after pruning
  entropyBytes: number | null; // after quantization; null also for what was not quantized
  sideBytes: number | null; // of `bytes`: codebook or scales, lengths, checksum
}

export interface Report {
  bytes: { onnxBefore: number | null; weightsBefore: number | null; artifact: number | null; ratio: number | null };
  accuracy: { before: Interval | null; after: Interval | null; metric: string; n: number | null; split: string | null };
  latency: { before: Latency | null; after: Latency | null; threads: number | null; machine: string | null };
  memory: { before: number | null; after: number | null }; // resident bytes to load and run it, on the same machine
  costs: { before: Costs; after: Costs };
  seconds: number | null; // of the whole compression
  stages: Stage[];
  tensors: TensorBytes[];
  warnings: string[];
  command: string | null;
  dataset: string | null;
}
export interface Latency {
  p50_us: number | null;
  p95_us: number | null;
}

type Bag = Record<string, unknown>;
const bag = (value: unknown): Bag =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Bag) : {};
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const num = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) ? value : null;
const str = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

export function readReport(report: unknown): Report {
  const all = bag(report);
  const size = bag(all["bytes"]);
  const acc = bag(all["accuracy"]);
  const lat = bag(all["latency_us"]);
  const memory = bag(all["memory_bytes"]);
  const counted = bag(all["costs"]);
  return {
    bytes: {
      onnxBefore: num(size["onnx_before"]),
      weightsBefore: num(size["weights_before"]),
      artifact: num(size["artifact"]),
      ratio: num(size["ratio"]),
    },
    accuracy: {
      before: interval(acc, "before"),
      after: interval(acc, "after"),
      metric: str(acc["metric"]) ?? "accuracy",
      split: str(acc["split"]),
      n: num(acc["n"]),
    },
    latency: {
      before: latency(lat["before"]),
      after: latency(lat["after"]),
      threads: num(lat["threads"]),
      machine: str(lat["machine"]),
    },
    memory: { before: num(memory["before"]), after: num(memory["after"]) },
    costs: { before: costs(counted["before"]), after: costs(counted["after"]) },
    seconds: num(all["seconds"]),
    stages: list(all["stages"]).map(stage),
    tensors: list(all["tensors"]).flatMap(tensor),
    warnings: list(all["warnings"]).filter((value): value is string => typeof value === "string"),
    command: str(all["command"]),
    dataset: str(bag(all["dataset"])["name"]),
  };
}

// `ci95` is the interval of `after`, `ci95_before` that of `before`; null for metrics that are no proportion.
function interval(acc: Bag, side: "before" | "after"): Interval | null {
  const value = num(acc[side]);
  if (value === null) return null;
  const pair = list(acc[side === "after" ? "ci95" : "ci95_before"]);
  return { value, low: num(pair[0]), high: num(pair[1]) };
}

function latency(value: unknown): Latency | null {
  const each = bag(value);
  const [p50_us, p95_us] = [num(each["p50"]), num(each["p95"])];
  return p50_us === null && p95_us === null ? null : { p50_us, p95_us };
}

function stage(value: unknown): Stage {
  const each = bag(value);
  return {
    name: str(each["name"]) ?? "stage",
    seconds: num(each["seconds"]),
    bytes: num(each["bytes_estimate"]),
    nonzero: num(each["nonzero"]),
    bits: num(each["bits"]),
    accuracy: num(each["accuracy"]),
    note: str(each["note"]),
    flops: num(each["flops"]),
    parameters: num(each["parameters"]),
    sparsity: num(each["sparsity"]),
    peakBytes: num(each["peak_activation_bytes"]),
    latencyUs: num(each["latency_us"]),
    speedup: num(each["speedup"]),
    sensitivity: (["sparsity", "bits"] as const).flatMap((by) => sensitivity(bag(each["detail"])["sensitivity"], by)),
    filters: list(bag(each["detail"])["filters"]).flatMap(filter),
  };
}

const MOST_CURVES = 24;

function sensitivity(rows: unknown, by: "sparsity" | "bits"): Sensitivity[] {
  const curves = new Map<string, Curve>();
  for (const row of list(rows).map(bag)) {
    const [name, x, y] = [str(row["tensor"]), num(row[by]), num(row["loss"])];
    if (name === null || x === null || y === null) continue;
    const curve = curves.get(name) ?? { name, points: [] };
    curve.points.push({ x, y });
    curves.set(name, curve);
  }
  if (curves.size === 0) return [];
  const worst = (curve: Curve) => Math.max(...curve.points.map((each) => each.y));
  const sorted = [...curves.values()].sort((a, b) => worst(b) - worst(a)).slice(0, MOST_CURVES);
  for (const curve of sorted) curve.points.sort((a, b) => a.x - b.x);
  return [{ by, curves: sorted }];
}

function filter(value: unknown): Filter[] {
  const each = bag(value);
  const [group, alive, of] = [str(each["group"]), num(each["alive"]), num(each["of"])];
  return group === null || alive === null || of === null ? [] : [{ group, alive, of }];
}

function costs(value: unknown): Costs {
  const each = bag(value);
  const [parameters, nonzero] = [num(each["parameters"]), num(each["nonzero"])];
  return {
    flops: num(each["flops"]),
    parameters,
    sparsity: parameters && nonzero !== null ? 1 - nonzero / parameters : null,
    peakBytes: num(each["peak_activation_bytes"]),
  };
}

function tensor(value: unknown): TensorBytes[] {
  const each = bag(value);
  const size = num(each["stored_bytes"]);
  const part = str(each["part"]);
  const name = str(each["name"]) ?? part; // header and skeleton have no name of their own
  if (name === null || size === null) return [];
  const dims = list(each["shape"]).filter((n): n is number => typeof n === "number");
  return [
    {
      name,
      shape: dims,
      dtype: str(each["dtype"]),
      coding: str(each["coding"]) ?? "",
      bytes: size,
      rawBytes: num(each["raw_bytes"]) || null, // 0: the header, which is not in the ONNX file
      weights: part === "tensor" ? dims.reduce((product, n) => product * n, 1) : null,
      nonzeroBytes: num(each["nonzero_bytes"]),
      entropyBytes: num(each["entropy_bytes"]),
      sideBytes: part === "tensor" ? num(each["side_bytes"]) : null,
    },
  ];
}

/** Whether the accuracy change is more than chance: the 95 % intervals do not touch. Null where none are given. */
export function clearlyWorse(before: Interval | null, after: Interval | null): boolean | null {
  if (!before || !after || before.low === null || after.high === null) return null;
  return after.high < before.low;
}
