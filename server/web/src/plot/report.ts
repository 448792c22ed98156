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
  accuracy: number | null;
}

export interface TensorBytes {
  name: string;
  shape: number[];
  coding: string;
  bytes: number;
  rawBytes: number | null; // of the same tensor in fp32
}

export interface Report {
  bytes: { onnxBefore: number | null; weightsBefore: number | null; artifact: number | null; ratio: number | null };
  accuracy: { before: Interval | null; after: Interval | null; metric: string; n: number | null };
  latency: { before: Latency | null; after: Latency | null; threads: number | null; machine: string | null };
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
  const dataset = all["dataset"];
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
      n: num(acc["n"]),
    },
    latency: {
      before: latency(lat["before"]),
      after: latency(lat["after"]),
      threads: num(lat["threads"]),
      machine: str(lat["machine"]),
    },
    stages: list(all["stages"]).map(stage),
    tensors: list(all["tensors"]).flatMap(tensor),
    warnings: list(all["warnings"]).filter((value): value is string => typeof value === "string"),
    command: str(all["command"]),
    dataset: str(dataset) ?? str(bag(dataset)["name"]),
  };
}

// ci95 is one pair a side, {"before": [low, high], "after": [low, high]}, or one pair for "after".
function interval(acc: Bag, side: "before" | "after"): Interval | null {
  const own = bag(acc[side]);
  const value = num(acc[side]) ?? num(own["value"]);
  if (value === null) return null;
  const ci = acc["ci95"];
  const pair = list(Array.isArray(ci) ? (side === "after" ? ci : []) : (bag(ci)[side] ?? own["ci95"]));
  return { value, low: num(pair[0]), high: num(pair[1]) };
}

function latency(value: unknown): Latency | null {
  const each = bag(value);
  const [p50_us, p95_us] = [num(each["p50"]) ?? num(each["p50_us"]), num(each["p95"]) ?? num(each["p95_us"])];
  return p50_us === null && p95_us === null ? null : { p50_us, p95_us };
}

function stage(value: unknown): Stage {
  const each = bag(value);
  return {
    name: str(each["name"]) ?? "stage",
    seconds: num(each["seconds"]),
    bytes: num(each["bytes_estimate"]) ?? num(each["bytes"]),
    nonzero: num(each["nonzero"]),
    bits: num(each["bits"]),
    accuracy: num(each["accuracy"]),
  };
}

function tensor(value: unknown): TensorBytes[] {
  const each = bag(value);
  const [name, size] = [str(each["name"]), num(each["bytes"]) ?? num(each["payload_bytes"])];
  if (name === null || size === null) return [];
  const shape = list(each["shape"]).filter((n): n is number => typeof n === "number");
  const isTensor = Array.isArray(each["shape"]);
  return [
    {
      name,
      shape,
      coding: str(each["coding"]) ?? str(each["kind"]) ?? "",
      bytes: size,
      rawBytes: num(each["raw_bytes"]) ?? (isTensor ? shape.reduce((product, n) => product * n, 4) : null),
    },
  ];
}

/** The largest parts, and all others as one, so that they add up to the artifact. */
export function largest(tensors: readonly TensorBytes[], keep: number): TensorBytes[] {
  const sorted = [...tensors].sort((a, b) => b.bytes - a.bytes);
  const rest = sorted.slice(keep);
  if (rest.length < 2) return sorted;
  const sum = (of: (each: TensorBytes) => number) => rest.reduce((total, each) => total + of(each), 0);
  return [
    ...sorted.slice(0, keep),
    {
      name: `${rest.length} smaller parts`,
      shape: [],
      coding: "",
      bytes: sum((each) => each.bytes),
      rawBytes: sum((each) => each.rawBytes ?? 0) || null,
    },
  ];
}

/** Whether the accuracy change is more than chance: the 95 % intervals do not touch. Null where none are given. */
export function clearlyWorse(before: Interval | null, after: Interval | null): boolean | null {
  if (!before || !after || before.low === null || after.high === null) return null;
  return after.high < before.low;
}
