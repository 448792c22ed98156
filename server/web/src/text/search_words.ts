// Searches, trials and recipes in plain words.

import type { Cost, Search, SearchState, Stage, Step, Trial, TrialFigures } from "../api/searches";
import { bytes, micros, millijoules } from "./format";
import type { Word } from "./words";

export const searchWords: Record<SearchState, Word> = {
  queued: { text: "queued", tone: "idle" },
  running: { text: "searching", tone: "busy" },
  done: { text: "done", tone: "good" },
  failed: { text: "failed", tone: "bad" },
  cancelled: { text: "cancelled", tone: "idle" },
};

/** Its state, and whether it found what was asked for. */
export function searchWord({ state, chosen, cancelling }: { state: SearchState; chosen: string | null; cancelling: boolean }): Word {
  if (cancelling) return { text: "being cancelled", tone: "warn" };
  if (state !== "done") return searchWords[state];
  return chosen ? { text: "found", tone: "good" } : { text: "nothing within", tone: "warn" };
}

export const searchIsOver = (state: SearchState) => state !== "queued" && state !== "running";

export const stageWords: Record<Stage, Word> = {
  predicted: { text: "predicted only", tone: "idle" },
  evaluated: { text: "evaluated", tone: "busy" },
  measured: { text: "measured on the device", tone: "good" },
};

/** How far a trial is, or was when its search ended. */
export function trialWord(trial: Trial, over: boolean): Word {
  if (trial.state === "failed") return { text: "failed", tone: "bad" };
  if (trial.state === "running") return over ? { text: "cut short", tone: "idle" } : { text: "under way", tone: "busy" };
  return stageWords[trial.stage];
}

export const costWords: Record<Cost, { title: string; format: (value: number | null) => string; basis: keyof TrialFigures }> = {
  latency_us: { title: "latency", format: micros, basis: "latency_basis" },
  artifact_bytes: { title: "size", format: bytes, basis: "bytes_basis" },
  memory_bytes: { title: "memory", format: bytes, basis: "memory_basis" },
  energy_mj: { title: "energy", format: millijoules, basis: "energy_basis" },
};

/** "−0.42 ± 0.2 points"; null: not looked at. */
export function lossWords(figures: TrialFigures | null): string | null {
  if (!figures || figures.loss === null) return null;
  const value = -100 * figures.loss;
  const shown = Math.abs(value) < 0.005 ? "0" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  const error = figures.loss_error ? ` ± ${(196 * figures.loss_error).toFixed(2)}` : "";
  return `${shown}${error} points`;
}

/** "~" stands before what was not measured. */
export function costText(figures: TrialFigures, cost: Cost): string {
  const text = costWords[cost].format(figures[cost]);
  return figures[cost] !== null && figures.predicted.includes(cost) ? `~${text}` : text;
}

/** A pass of a recipe: "prune-channels: keep 0.5, cost latency". */
export function passWords({ name, options }: Step): string {
  const said = Object.entries(options ?? {}).flatMap(([key, value]) => {
    if (value === null || value === undefined) return [];
    if (value === true) return [spaced(key)];
    return [`${spaced(key)} ${plain(value)}`];
  });
  return said.length === 0 ? name : `${name}: ${said.join(", ")}`;
}

const spaced = (word: string) => word.replaceAll("_", " ");

function plain(value: unknown): string {
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length > 4 ? `${value.length} values` : value.map(plain).join(" ");
  const entries = Object.entries(value as Record<string, unknown>);
  return entries.length > 3 ? `for ${entries.length} layers` : entries.map(([key, each]) => `${key} ${plain(each)}`).join(" ");
}

/** What a search does now, for who looks at it. */
export function searchSaying(search: Search): string {
  if (search.state === "queued") return search.message || "Waits for a worker.";
  if (search.state === "running") return search.message || "Starts.";
  if (search.state === "cancelled") return search.message || "Cancelled.";
  return search.message;
}

/** Names beside the dots that matter. */
export function namedTrials(search: Search): Map<number, string> {
  const named = new Map<number, string>([[0, "original"]]);
  if (search.best !== null) named.set(search.best, search.state === "done" ? "chosen" : "best so far");
  else if (search.nearest !== null && search.nearest !== 0) named.set(search.nearest, "nearest");
  return named;
}

export type Filter = "all" | "front" | "within" | "failed";
export const FILTERS: readonly (readonly [Filter, string])[] = [
  ["all", "All"],
  ["front", "Front"],
  ["within", "Within the budget"],
  ["failed", "Failed"],
];

export const passes = (trial: Trial, filter: Filter): boolean =>
  filter === "all" ||
  (filter === "front" && trial.on_front) ||
  (filter === "within" && trial.within === true) ||
  (filter === "failed" && trial.state === "failed");
