// Findings and budgets in words.

import type { BudgetNow, Finding, FindingKind, FindingState } from "../api/findings";
import { bytes, micros, millijoules, short } from "./format";
import type { Tone, Word } from "./words";

export const findingWords: Record<FindingState, Word> = {
  open: { text: "open", tone: "warn" },
  proposed: { text: "proposed", tone: "warn" },
  calibrating: { text: "measuring devices", tone: "busy" },
  searching: { text: "searching", tone: "busy" },
  released: { text: "rolling out", tone: "busy" },
  resolved: { text: "resolved", tone: "good" },
  dismissed: { text: "dismissed", tone: "idle" },
};

export const isOver = (state: FindingState) => state === "resolved" || state === "dismissed";

export const budgetStateWords: Record<BudgetNow["state"], Word> = {
  missed: { text: "missed", tone: "bad" },
  kept: { text: "kept", tone: "good" },
  unclear: { text: "at the limit", tone: "idle" },
};

export const kindWords: Record<FindingKind, string> = {
  latency: "Latency, p95",
  memory: "Agent's memory",
  energy: "Energy of an inference",
  prediction: "Latency, p50",
};

/** The telemetry that shows it, how its values are written, and the line not to be passed. */
export function chartOf(finding: Finding): { metric: string; format: (value: number | null) => string; limit: number } {
  switch (finding.kind) {
    case "memory":
      return { metric: "rss_bytes", format: bytes, limit: finding.limit };
    case "energy":
      return { metric: "energy_mj", format: millijoules, limit: finding.limit };
    case "prediction":
      // The limit is a factor either way: the line lies on the side where it is missed.
      return {
        metric: "latency_p50_us",
        format: micros,
        limit: (finding.predicted_us ?? 0) * (finding.measured >= 1 ? 1 + finding.limit : 1 / (1 + finding.limit)),
      };
    default:
      return { metric: "latency_p95_us", format: micros, limit: finding.limit };
  }
}

export function figure(kind: FindingKind, value: number): string {
  if (kind === "latency") return micros(value);
  if (kind === "memory") return bytes(value);
  return kind === "energy" ? millijoules(value) : `${short(value)} × predicted`;
}

const STEPS: Record<string, readonly [string, Tone]> = {
  missed: ["Budget missed", "bad"],
  proposed: ["Proposed", "warn"],
  accepted: ["Accepted", "good"],
  profiling: ["Devices measure themselves", "busy"],
  calibrated: ["Calibrated", "good"],
  not_calibrated: ["Not calibrated", "warn"],
  search: ["Search", "busy"],
  found: ["Found", "good"],
  not_found: ["Nothing yet", "warn"],
  released: ["Released", "busy"],
  rolled_out: ["Rolled out", "good"],
  resolved: ["Within the budget again", "good"],
  dismissed: ["Dismissed", "idle"],
  advice: ["What to do", "idle"],
};
export function stepWord(what: string): Word {
  const [text, tone] = STEPS[what] ?? [what.replaceAll("_", " "), "idle"];
  return { text, tone };
}

/** Where a step's thing is looked at; null: nowhere. */
export function stepHref(about: string | null, id: string | null): string | null {
  if (about === null || id === null) return null;
  const pages: Record<string, string> = { search: "/searches", rollout: "/rollouts", profile: "/profiles" };
  const page = pages[about];
  return page === undefined ? null : `${page}/${encodeURIComponent(id)}`;
}

/** A sentence of the API with its full stop. */
export const sentence = (text: string) => (text === "" || /[.!?]$/.test(text) ? text : `${text}.`);
