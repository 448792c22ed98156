// A model in the field: its figures beside each other, in words and changes.

import type { FieldArtifact, Figures } from "../api/telemetry";
import { bytes, count, micros, millijoules, part, perSecond, watts } from "./format";
import { change, type Format } from "./metrics";

export interface FigureOf {
  key: keyof Figures;
  title: string;
  format: Format;
  metric: string; // as in the catalogue: whether more is worse
}

/** The figures that are compared, in the order in which people ask for them. */
export const FIGURES: readonly FigureOf[] = [
  { key: "p50_us", title: "p50", format: micros, metric: "latency_us" },
  { key: "p95_us", title: "p95", format: micros, metric: "latency_us" },
  { key: "p99_us", title: "p99", format: micros, metric: "latency_us" },
  { key: "queue_p95_us", title: "Waiting, p95", format: micros, metric: "queue_us" },
  { key: "error_ratio", title: "Errors", format: part, metric: "errors" },
  { key: "rss_bytes", title: "Memory", format: bytes, metric: "rss_bytes" },
  { key: "energy_mj", title: "Energy", format: millijoules, metric: "energy_mj" },
  { key: "power_mw", title: "Power", format: watts, metric: "power_mw" },
  { key: "inferences_per_s", title: "Requests", format: perSecond, metric: "inferences" },
  { key: "confidence", title: "Confidence", format: part, metric: "confidence" },
];

const number = (figures: Figures | null, key: keyof Figures): number | null => figures?.[key] ?? null;

export interface Compared {
  of: FigureOf;
  before: number | null;
  after: number | null;
  change: number | null; // percent
}

/** Figures that at least one side has. A share of errors that was 0 has no percentage. */
export function compared(before: Figures | null, after: Figures | null): Compared[] {
  return FIGURES.map((of) => {
    const [from, to] = [number(before, of.key), number(after, of.key)];
    return { of, before: from, after: to, change: change(to, from) };
  }).filter((each) => each.before !== null || each.after !== null);
}

export const artifactName = (artifact: Pick<FieldArtifact, "recipe" | "profile" | "release">, profiles: number): string =>
  `${artifact.recipe}${profiles > 1 ? ` for ${artifact.profile}` : ""}${artifact.release === null ? "" : `, release ${artifact.release}`}`;

/** Predicted over measured in words: 1.07 -> "7 % more than measured". */
export function ratioWords(ratio: number | null): string {
  if (ratio === null) return "";
  const off = (ratio - 1) * 100;
  return Math.abs(off) < 1 ? "as measured" : `${count(Math.round(Math.abs(off)))} % ${off > 0 ? "more" : "less"} than measured`;
}
