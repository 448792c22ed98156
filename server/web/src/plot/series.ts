// Time series as the charts need them: merged as they arrive, on one time grid, with gaps kept as gaps.

import type { Series } from "../api/types";

export interface Line {
  t: number[]; // Unix ms, ascending
  v: (number | null)[];
}

export const EMPTY: Series = { t: [], series: {}, methods: {} };

/** Put newer points behind held ones; where both have a time the newer wins (the last bucket was still filling). */
export function mergeSeries(held: Series, newer: Series): Series {
  if (newer.t.length === 0) return { ...held, methods: { ...held.methods, ...newer.methods } };
  const cut = lowerBound(held.t, newer.t[0]!);
  // The answer covers everything from its first point on, so what was held from there is replaced as a whole.
  const t = [...held.t.slice(0, cut), ...newer.t];
  const series: Series["series"] = {};
  for (const name of new Set([...Object.keys(held.series), ...Object.keys(newer.series)])) {
    const old = held.series[name]?.slice(0, cut) ?? new Array<null>(cut).fill(null);
    series[name] = [...old, ...(newer.series[name] ?? new Array<null>(newer.t.length).fill(null))];
  }
  return { t, series, methods: { ...held.methods, ...newer.methods } };
}

/** Drop what is older than `from`. */
export function trimSeries(held: Series, from: number): Series {
  const cut = lowerBound(held.t, from);
  if (cut === 0) return held;
  const series: Series["series"] = {};
  for (const [name, values] of Object.entries(held.series)) series[name] = values.slice(cut);
  return { ...held, t: held.t.slice(cut), series };
}

export const line = (series: Series | undefined, metric: string): Line => ({
  t: series?.t ?? [],
  v: series?.series[metric] ?? new Array<null>(series?.t.length ?? 0).fill(null),
});

/** How many slots lie between two values as a rule: boards that report each minute leave most slots of 10 s empty. */
export function usualGap({ t, v }: Line, step: number): number {
  const slots: number[] = [];
  t.forEach((at, i) => {
    const slot = Math.floor(at / step);
    if ((v[i] ?? null) !== null && slot !== slots[slots.length - 1]) slots.push(slot);
  });
  const gaps = slots.slice(1).map((slot, i) => slot - slots[i]!);
  return gaps.length < 3 ? 1 : gaps.sort((a, b) => a - b)[(gaps.length - 1) >> 1]!; // two gaps are no rule
}

/** Of a line's slots those with a value and none on either side: no line goes through them, so they need a point. */
export function lonely(slots: readonly Slot[]): number[] {
  const none = (i: number) => (slots[i] ?? null) === null && slots[i] !== undefined;
  return slots.flatMap((value, i) => (typeof value === "number" && (i === 0 || none(i - 1)) && (i === slots.length - 1 || none(i + 1)) ? [i] : []));
}

export type Slot = number | null | undefined;

/**
 * Several lines on one grid of `step` ms, for uPlot, which draws a gap at null and joins over undefined. A hole of at
 * most `holes` slots between two values, or of half more than usual on that line, is a sample that came a little late:
 * undefined. A longer one is a gap: null.
 */
export function onGrid(lines: readonly Line[], step: number, holes = 3): { x: number[]; y: Slot[][] } {
  const slots = lines.map((each) => {
    const values = new Map<number, number | null>();
    each.t.forEach((at, i) => values.set(Math.floor(at / step), each.v[i] ?? null));
    return values;
  });
  const used = [...new Set(slots.flatMap((values) => [...values.keys()]))].sort((a, b) => a - b);
  const x: number[] = [];
  for (const [i, slot] of used.entries()) {
    const previous = used[i - 1];
    if (previous !== undefined && slot - previous > holes) x.push(previous + 1); // an x with nulls only: the gap
    x.push(slot);
  }
  const y = slots.map((values, i) => bridge(x, values, Math.max(holes, Math.floor(usualGap(lines[i]!, step) * 1.5))));
  return { x: x.map((slot) => (slot * step) / 1000), y }; // uPlot's time is in seconds
}

function bridge(x: readonly number[], values: ReadonlyMap<number, number | null>, holes: number): Slot[] {
  const out: Slot[] = x.map((slot) => values.get(slot) ?? null);
  let last = -1;
  for (let i = 0; i < out.length; i++) {
    if (out[i] === null) continue;
    if (last >= 0 && i - last > 1 && x[i]! - x[last]! <= holes) out.fill(undefined, last + 1, i);
    last = i;
  }
  return out;
}

/** The newest time at which something was measured; undefined where nothing was. */
export function lastMeasured(held: Series): number | undefined {
  for (let i = held.t.length - 1; i >= 0; i--) {
    if (Object.values(held.series).some((values) => (values[i] ?? null) !== null)) return held.t[i];
  }
  return undefined;
}

/** A step that gives about `points` points over the range, a round number of seconds. */
export function stepFor(rangeMs: number, points = 300): number {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  const want = rangeMs / points / 1000;
  return (steps.find((step) => step >= want) ?? 14400) * 1000;
}

export interface Summary {
  last: number; // the newest value
  low: number;
  high: number;
  mean: number;
}
/** What a chart says, for those who do not see it; null where it has no value. */
export function summarize(each: Line): Summary | null {
  const values = each.v.filter((value): value is number => value !== null);
  if (values.length === 0) return null;
  let low = Infinity;
  let high = -Infinity;
  let sum = 0;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    sum += value;
  }
  return { last: values[values.length - 1]!, low, high, mean: sum / values.length };
}

/** The SVG path of a sparkline in a box of w by h; gaps are moves. Null where there are fewer than two values. */
export function sparkPath(values: readonly (number | null)[], w: number, h: number): string | null {
  const some = values.filter((value): value is number => value !== null);
  if (some.length < 2) return null;
  const low = Math.min(...some);
  const room = Math.max(...some) - low;
  const x = (i: number) => round((i / (values.length - 1)) * w);
  // A flat line is drawn in the middle: it is steady, neither low nor high.
  const y = (value: number) => round(room === 0 ? h / 2 : h - ((value - low) / room) * h);
  let pen = "M";
  let path = "";
  values.forEach((value, i) => {
    if (value === null) {
      pen = "M";
      return;
    }
    path += `${pen}${x(i)} ${y(value)}`;
    pen = "L";
  });
  return path;
}

const round = (value: number) => Math.round(value * 10) / 10;

function lowerBound(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
