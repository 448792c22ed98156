// A question about telemetry as the address of the page holds it, with the same names as the API's, so that a link
// shows everybody the same and `edgepress telemetry query --url` can print one.

import { query } from "../api/client";
import type { Aggregate, Catalogue, MetricFacts } from "../api/telemetry";

export type View = "line" | "table" | "spread";
export interface Question {
  metric: string;
  aggregate: Aggregate | null; // null: the metric's usual one
  groupBy: string;
  where: string;
  model: string;
  artifact: string;
  lastMs: number | null; // null: from and to hold
  from: number | null;
  to: number | null;
  stepMs: number | null; // null: as the range deserves
  view: View;
  compare: boolean; // with the same length of time before
}

const HOUR = 3_600_000;
export const RANGES = [
  [300_000, "5 min"],
  [900_000, "15 min"],
  [HOUR, "1 h"],
  [6 * HOUR, "6 h"],
  [24 * HOUR, "24 h"],
  [168 * HOUR, "7 d"],
  [720 * HOUR, "30 d"],
  [8760 * HOUR, "1 y"],
] as const;
export const STEPS = [
  [1000, "1 s"],
  [10_000, "10 s"],
  [60_000, "1 min"],
  [300_000, "5 min"],
  [900_000, "15 min"],
  [HOUR, "1 h"],
  [6 * HOUR, "6 h"],
  [24 * HOUR, "1 d"],
] as const;

const VIEWS: readonly View[] = ["line", "table", "spread"];

function whole(text: string | null): number | null {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}

/** What the address asks; what is missing or not readable is the usual. */
export function readQuestion(search: URLSearchParams): Question {
  const [from, to] = [whole(search.get("from")), whole(search.get("to"))];
  const fixed = from !== null && to !== null && from < to;
  const view = VIEWS.find((each) => each === search.get("view")) ?? "line";
  return {
    metric: search.get("metric") ?? "latency_us",
    aggregate: (search.get("aggregate") as Aggregate | null) || null,
    groupBy: search.get("group_by") ?? "profile",
    where: search.get("where") ?? "",
    model: search.get("model") ?? "",
    artifact: search.get("artifact") ?? "",
    lastMs: fixed ? null : whole(search.get("last_ms")) || HOUR,
    from: fixed ? from : null,
    to: fixed ? to : null,
    stepMs: whole(search.get("step_ms")) || null,
    view,
    compare: search.get("compare") === "1",
  };
}

/** The part of a question that the API answers. */
function asked(q: Question): Record<string, string | number | null> {
  return {
    metric: q.metric,
    aggregate: q.aggregate,
    group_by: q.groupBy,
    where: q.where,
    model: q.model,
    artifact: q.artifact,
    last_ms: q.lastMs,
    from: q.from,
    to: q.to,
    step_ms: q.stepMs,
  };
}

export const questionPath = (q: Question): string => "/telemetry/query" + query(asked(q));

/** The same over other time; steps are given, so that two answers fall on one grid. */
export const over = (q: Question, from: number, to: number, stepMs: number): Question => ({ ...q, lastMs: null, from, to, stepMs });

export const exportHref = (q: Question, format: "csv" | "parquet" | "json"): string =>
  "/api/v1/telemetry/query/export" + query({ ...asked(q), format });

/** The page's address: only what is not the usual. */
export function questionHref(q: Question): string {
  return (
    "/telemetry" +
    query({
      ...asked(q),
      last_ms: q.lastMs === HOUR ? null : q.lastMs,
      view: q.view === "line" ? null : q.view,
      compare: q.compare ? 1 : null,
    })
  );
}

export const metricOf = (catalogue: Catalogue, name: string): MetricFacts | undefined => {
  const full = catalogue.histograms.some((each) => each.name === `${name}_us`) ? `${name}_us` : name;
  return [...catalogue.histograms, ...catalogue.metrics].find((each) => each.name === full);
};

/** Another metric in the same question: its aggregate stays where the metric has it. */
export function withMetric(q: Question, metric: MetricFacts): Question {
  const keeps = q.aggregate !== null && metric.aggregates.includes(q.aggregate);
  return { ...q, metric: metric.name, aggregate: keeps ? q.aggregate : null };
}

export interface Preset {
  name: string;
  metric: string;
  aggregate: Aggregate;
  groupBy: string;
}
export const PRESETS: readonly Preset[] = [
  { name: "p95 by profile", metric: "latency_us", aggregate: "p95", groupBy: "profile" },
  { name: "p95 by model", metric: "latency_us", aggregate: "p95", groupBy: "model" },
  { name: "Errors by model", metric: "errors", aggregate: "ratio", groupBy: "model" },
  { name: "Requests, all together", metric: "inferences", aggregate: "throughput", groupBy: "none" },
  { name: "Waiting, by profile", metric: "queue_us", aggregate: "p95", groupBy: "profile" },
  { name: "Memory by profile", metric: "rss_bytes", aggregate: "mean", groupBy: "profile" },
  { name: "Power by profile", metric: "power_mw", aggregate: "mean", groupBy: "profile" },
  { name: "Throttled devices", metric: "throttled", aggregate: "mean", groupBy: "device" },
  { name: "Hottest devices", metric: "temp_c", aggregate: "max", groupBy: "device" },
  { name: "Least free disk", metric: "disk_free_bytes", aggregate: "min", groupBy: "device" },
  { name: "Input drift by artifact", metric: "input_psi", aggregate: "max", groupBy: "artifact" },
];
export const isPreset = (preset: Preset, q: Question, aggregate: Aggregate | null): boolean =>
  preset.metric === q.metric && preset.groupBy === q.groupBy && preset.aggregate === aggregate;

export const groupWord = (group: string): string =>
  group === "none" ? "nothing: all together" : group.startsWith("label:") ? `label ${group.slice(6)}` : group;

/** How often an answer about the newest time is asked for again. */
export const renewMs = (q: Question): number | undefined =>
  q.lastMs === null ? undefined : q.lastMs <= 2 * HOUR ? 5000 : q.lastMs <= 48 * HOUR ? 30_000 : 120_000;
