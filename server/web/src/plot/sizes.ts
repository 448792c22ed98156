// Where an artifact's bytes went: its parts in order, and what each stage from fp32 to the artifact did.

import type { TensorBytes } from "./report";

export type Order = "size" | "graph";

/** The largest parts, in either order, and then all others as one, so that they add up to the artifact. */
export function largest(parts: readonly TensorBytes[], keep: number, order: Order = "size"): TensorBytes[] {
  const sorted = [...parts].sort((a, b) => b.bytes - a.bytes);
  const rest = sorted.slice(keep);
  const alone = rest.length < 2; // one rest is shown by its own name
  const shown = alone ? sorted : sorted.slice(0, keep);
  const chosen = new Set(shown);
  const ordered = order === "size" ? shown : parts.filter((each) => chosen.has(each));
  return alone ? ordered : [...ordered, together(rest)];
}

function together(rest: readonly TensorBytes[]): TensorBytes {
  const sum = (of: (each: TensorBytes) => number | null) => rest.reduce((total, each) => total + (of(each) ?? 0), 0);
  return {
    name: `${rest.length} smaller parts`,
    shape: [],
    dtype: null,
    coding: "",
    bytes: sum((each) => each.bytes),
    rawBytes: sum((each) => each.rawBytes) || null,
    weights: null,
    nonzeroBytes: null,
    entropyBytes: null,
    sideBytes: rest.some((each) => each.sideBytes !== null) ? sum((each) => each.sideBytes) : null,
  };
}

/** Bits of the artifact for each weight of a tensor; null for header, skeleton and empty tensors. */
export const bitsPerWeight = (each: TensorBytes): number | null => (each.weights ? (each.bytes * 8) / each.weights : null);

export interface Step {
  name: string;
  note: string;
  before: number; // bytes; of the first step as many as after it
  after: number;
}

/**
 * The whole model from stage to stage. What a tensor has no figure for left it as it was: one that was not quantized
 * keeps its bytes. Null for reports that do not tell the stages.
 */
export function steps(parts: readonly TensorBytes[]): Step[] | null {
  const tensors = parts.filter((each) => each.weights !== null);
  if (tensors.length === 0 || tensors.some((each) => each.sideBytes === null || each.rawBytes === null)) return null;
  if (!tensors.some((each) => each.nonzeroBytes !== null || each.entropyBytes !== null)) return null;
  const sum = (of: (each: TensorBytes) => number) => tensors.reduce((total, each) => total + of(each), 0);
  const raw = (each: TensorBytes) => each.rawBytes ?? 0;
  const pruned = (each: TensorBytes) => each.nonzeroBytes ?? raw(each);
  const side = (each: TensorBytes) => each.sideBytes ?? 0;
  const stored = sum((each) => each.bytes);
  const artifact = parts.reduce((total, each) => total + each.bytes, 0);
  const levels: [string, string, number][] = [
    ["Weights", "as in the ONNX file", sum(raw)],
    ["Not zero", "without zeros; their places not counted", sum(pruned)],
    ["Quantized", "entropy of the symbols, places of zeros included", sum((each) => each.entropyBytes ?? pruned(each))],
    ["Coded", "the coders' payload", stored - sum(side)],
    ["Side information", "codebooks, scales, checksums", stored],
    ["Header, skeleton", "the graph without weights", artifact],
  ];
  return levels.map(([name, note, after], i) => ({ name, note, before: levels[i - 1]?.[2] ?? after, after }));
}
