// Metrics as people read them: their families, their numbers, what an aggregate is called.

import type { Aggregate, MetricFacts } from "../api/telemetry";
import { bytes, celsius, count, micros, millijoules, part, percent, short, watts } from "./format";

export type Format = (value: number | null) => string;

const FAMILIES: readonly (readonly [string, RegExp])[] = [
  ["Latency", /_us$/],
  ["Requests", /^(inferences|covered_ms)$/],
  ["Errors", /^errors/],
  ["Memory", /^(rss|mem|swap)_/],
  ["Processor", /^(agent_)?cpu_|^gpu_|^temp_c|^throttled/],
  ["Power", /^(power|energy|battery)/],
  ["Disk and network", /^(disk|net|wifi)_/],
  ["Drift", /^(input|output)_(psi|ks)$|^confidence$|^(compared|agreed)$/],
];

/** Metrics by family, in the catalogue's order within each; those of no family come last. */
export function families<M extends { name: string }>(metrics: readonly M[]): [string, M[]][] {
  const of = (metric: M) => FAMILIES.find(([, pattern]) => pattern.test(metric.name))?.[0] ?? "Other";
  const names = [...FAMILIES.map(([name]) => name), "Other"];
  return names
    .map((name): [string, M[]] => [name, metrics.filter((metric) => of(metric) === name)])
    .filter(([, some]) => some.length > 0);
}

const AGGREGATES: Record<Aggregate, string> = {
  mean: "mean",
  min: "lowest",
  max: "highest",
  sum: "sum",
  rate: "per second, of a device",
  throughput: "per second, all together",
  count: "samples",
  ratio: "share",
  p50: "p50 (median)",
  p90: "p90",
  p95: "p95",
  p99: "p99",
};
export const aggregateWord = (aggregate: Aggregate, metric?: MetricFacts): string =>
  metric?.kind === "flag" && aggregate === "mean" ? "share of the time" : (AGGREGATES[aggregate] ?? aggregate);

const BY_UNIT: Record<string, Format> = {
  us: micros,
  "µs": micros,
  B: bytes,
  "%": percent,
  "°C": celsius,
  mW: watts,
  mJ: millijoules,
  ms: (value) => micros(value === null ? null : value * 1000),
};

/** How values of a unit are written; "B/s" is "B" and "/s". */
export function formatOf(unit: string, aggregate?: Aggregate, kind?: MetricFacts["kind"]): Format {
  if (aggregate === "ratio" || (kind === "flag" && aggregate === "mean")) return part;
  if (aggregate === "count") return count;
  if (unit.endsWith("/s")) {
    const base = formatOf(unit.slice(0, -2).replace(/^1$/, ""));
    return (value) => (value === null ? base(null) : `${base(value)}/s`);
  }
  return BY_UNIT[unit] ?? (unit === "" ? number : (value) => (value === null ? number(null) : `${number(value)} ${unit}`));
}

const number: Format = (value) => (value !== null && Math.abs(value) >= 10_000 ? count(value) : short(value));

/** How much more or less than before, in percent; null where there is nothing to compare with. */
export function change(now: number | null, before: number | null): number | null {
  if (now === null || before === null || before === 0) return null;
  return (now / before - 1) * 100;
}

/** "+12 %", "−3.4 %", "18 times", "same". */
export function changeWords(percentage: number | null): string {
  if (percentage === null) return "–";
  if (percentage >= 300) return `${short(Number((1 + percentage / 100).toPrecision(2)))} times`;
  if (Math.abs(percentage) < 0.5) return "same";
  const sign = percentage > 0 ? "+" : "−";
  return `${sign}${short(Math.round(Math.abs(percentage) * 10) / 10)} %`;
}

const MORE_IS_BAD = /_us$|^errors|^rss|^mem_|^swap|^cpu_percent|^agent_cpu|^gpu|^temp|^throttled|^power|^energy|psi$|ks$/;
const MORE_IS_GOOD = /^(inferences|agreed|battery_percent|disk_free|confidence)/;
/** Whether a change is for the better; null where it is neither. */
export function better(metric: string, percentage: number | null): boolean | null {
  if (percentage === null || Math.abs(percentage) < 2) return null;
  if (MORE_IS_BAD.test(metric)) return percentage < 0;
  if (MORE_IS_GOOD.test(metric)) return percentage > 0;
  return null;
}

/** Groups by their figure: the most first, or the least where the least is asked for; what has none comes last. */
export function gravestFirst<S extends { total: number | null }>(series: readonly S[], aggregate: Aggregate): S[] {
  const sign = aggregate === "min" ? -1 : 1;
  return [...series].sort((a, b) => (b.total === null ? -Infinity : b.total * sign) - (a.total === null ? -Infinity : a.total * sign) || 0);
}
