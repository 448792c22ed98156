// Drift in plain words; sampled inputs as pictures where they are some.

import type { DriftFeature, SampledInput, SamplingRule, Verdict } from "../api/drift";
import { plural, short } from "./format";
import type { Tone, Word } from "./words";

export const verdictWord: Record<Verdict, Word> = {
  stable: { text: "as when it was made", tone: "good" },
  some: { text: "some drift", tone: "warn" },
  moved: { text: "drifted", tone: "bad" },
  unknown: { text: "not known yet", tone: "idle" },
};

/** The common reading of PSI (Siddiqi, Credit Risk Scorecards, 2006). */
export const psiTone = (psi: number | null): Tone => (psi === null ? "idle" : psi >= 0.25 ? "bad" : psi >= 0.1 ? "warn" : "good");

/** Bin `i` of a feature in words: "up to 0.2", "0.2 to 0.5", "above 0.5". */
export function binWords(feature: Pick<DriftFeature, "edges">, i: number): string {
  const [low, high] = [feature.edges[i - 1], feature.edges[i]];
  if (low === undefined && high === undefined) return "any";
  if (low === undefined) return `up to ${short(high)}`;
  return high === undefined ? `above ${short(low)}` : `${short(low)} to ${short(high)}`;
}

export interface Pair {
  label: string;
  expected: number;
  actual: number | null;
}

/** Classes with the largest change first, at most `most`; the rest is added up. */
export function classPairs(labels: readonly string[], expected: readonly number[], actual: readonly number[] | null, most = 20): Pair[] {
  const all = expected.map((share, i) => ({ label: labels[i] ?? String(i), expected: share, actual: actual?.[i] ?? (actual ? 0 : null) }));
  if (all.length <= most) return all;
  const weight = (pair: Pair) => Math.abs((pair.actual ?? pair.expected) - pair.expected) + Math.max(pair.expected, pair.actual ?? 0) * 0.2;
  const sorted = [...all].sort((a, b) => weight(b) - weight(a));
  const rest = sorted.slice(most - 1);
  const sum = (of: (pair: Pair) => number) => rest.reduce((total, pair) => total + of(pair), 0);
  return [...sorted.slice(0, most - 1), { label: `${rest.length} others`, expected: sum((pair) => pair.expected), actual: actual ? sum((pair) => pair.actual ?? 0) : null }];
}

/** What a sampling rule means for people whose data a device sees. */
export function privacyWords({ per_hour, low_confidence_percent }: SamplingRule): string {
  if (per_hour === 0) return "No input leaves this device. Only counts do: how often a figure of an input lay in which range.";
  const which = low_confidence_percent === 0 ? "" : ` of those whose answer was less than ${low_confidence_percent} % sure`;
  return (
    `At most ${plural(per_hour, "input")} an hour${which} leave this device as they are, with the answer that the model gave. ` +
    "They are kept for seven days on this server, only operators see them, and the audit log says who looked."
  );
}

export interface Picture {
  width: number;
  height: number;
  rgba: Uint8ClampedArray<ArrayBuffer>;
}

const SIDE_MAX = 1024;

/** An input as a picture: one or three planes, first or last, of at least 4 by 4; null where it is none. */
export function asPicture(shape: readonly number[], values: readonly (number | null)[]): Picture | null {
  const dims = shape.length > 0 && shape[0] === 1 && shape.length > 2 ? shape.slice(1) : [...shape];
  const layout = planes(dims);
  if (!layout) return null;
  const { width, height, channels, at } = layout;
  if (Math.min(width, height) < 4 || Math.max(width, height) > SIDE_MAX || values.length !== width * height * channels) return null;
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const room = high > low ? high - low : 1;
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = (y * width + x) * 4;
      for (let c = 0; c < 3; c++) {
        const value = values[at(channels === 1 ? 0 : c, y, x)] ?? null;
        rgba[to + c] = value === null ? 0 : ((value - low) / room) * 255;
      }
      rgba[to + 3] = 255;
    }
  }
  return { width, height, rgba };
}

interface Layout {
  width: number;
  height: number;
  channels: 1 | 3;
  at: (channel: number, y: number, x: number) => number;
}

function planes(dims: readonly number[]): Layout | null {
  if (dims.length === 2) {
    const [height, width] = dims as [number, number];
    return { width, height, channels: 1, at: (_, y, x) => y * width + x };
  }
  if (dims.length !== 3) return null;
  const [a, b, c] = dims as [number, number, number];
  if (a === 1 || a === 3) return { height: b, width: c, channels: a, at: (channel, y, x) => (channel * b + y) * c + x };
  if (c === 1 || c === 3) return { height: a, width: b, channels: c, at: (channel, y, x) => (y * b + x) * c + channel };
  return null;
}

/** Whether an input may be one, before its values are there. */
export const maybePicture = (input: Pick<SampledInput, "shape">): boolean => {
  const dims = input.shape[0] === 1 && input.shape.length > 2 ? input.shape.slice(1) : input.shape;
  const layout = planes(dims);
  return layout !== null && Math.min(layout.width, layout.height) >= 4;
};
