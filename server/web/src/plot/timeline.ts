// A rollout's devices over time, as bands that lie on each other: together they are always all devices.

import type { Decision, Timeline, What } from "../api/rollouts";

export type BandTone = "good" | "bad" | "busy" | "warn" | "idle" | "before"; // a colour of tokens.css
export interface Band {
  key: string;
  label: string;
  tone: BandTone;
  values: number[];
  top: number[]; // the sum of this band and those below it
}
export interface Bands {
  at: number[]; // Unix ms
  bands: Band[]; // lowest first; without those that are always empty
  total: number; // most devices at any moment
}

const ORDER: readonly (readonly [string, string, BandTone, readonly string[]])[] = [
  ["committed", "run it", "good", ["committed"]],
  ["failed", "failed", "bad", ["failed"]],
  ["under-way", "under way", "busy", ["wanted", "fetching", "trial"]],
  ["unreached", "unreached", "warn", ["unreached"]],
  ["waiting", "waiting", "idle", ["waiting"]],
  ["skipped", "left out or went back", "before", ["skipped"]],
];

/** Bands of a timeline, with a last point at `until`, where everything is as it was last. */
export function bands(timeline: Timeline, until: number): Bands {
  const n = timeline.at.length;
  const last = timeline.at[n - 1];
  if (last === undefined) return { at: [], bands: [], total: 0 };
  const at = until > last ? [...timeline.at, until] : [...timeline.at];
  const below = new Array<number>(at.length).fill(0);
  const found: Band[] = [];
  for (const [key, label, tone, states] of ORDER) {
    const values = at.map((_, i) =>
      states.reduce((sum, state) => sum + (timeline.counts[state]?.[Math.min(i, n - 1)] ?? 0), 0),
    );
    if (values.every((value) => value === 0)) continue;
    const top = values.map((value, i) => value + below[i]!);
    top.forEach((value, i) => (below[i] = value));
    found.push({ key, label, tone, values, top });
  }
  return { at, bands: found, total: Math.max(0, ...below) };
}

export interface StageMark {
  at: number;
  label: string;
}
const MARKS: Partial<Record<What, string>> = {
  paused: "paused",
  resumed: "resumed",
  overruled: "resumed",
  aborted: "aborted",
  rolling_back: "back",
  rolled_back: "is back",
  done: "done",
};

/** The moments at which the rollout itself changed. */
export function stageMarks(decisions: readonly Decision[], waves: number): StageMark[] {
  const marks: StageMark[] = [];
  for (const { at, what, wave } of decisions) {
    const label = what === "begun" ? (wave === 0 ? "canaries" : waves === 1 ? "ramp" : `wave ${wave}`) : MARKS[what];
    if (label !== undefined) marks.push({ at, label });
  }
  return marks;
}

/** Of marks at these pixels, those whose label has room; the newer of two wins, for it says how things stand. */
export function withRoom<T extends { x: number; width: number }>(marks: readonly T[], gap = 6): Set<T> {
  const shown = new Set<T>();
  let edge = Infinity;
  for (const mark of [...marks].reverse()) {
    if (mark.x + mark.width / 2 + gap > edge) continue;
    shown.add(mark);
    edge = mark.x - mark.width / 2;
  }
  return shown;
}
