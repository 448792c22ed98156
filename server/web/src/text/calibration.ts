// Profiling jobs and calibrations in words.

import type { Calibration, CalibrationState, KindFit, ProfilingJob, ProfilingReport, ProfilingState } from "../api/calibration";
import { part, plural, span } from "./format";
import type { Word } from "./words";

export const profilingWords: Record<ProfilingState, Word> = {
  queued: { text: "queued", tone: "idle" },
  sent: { text: "asked", tone: "busy" },
  running: { text: "measuring", tone: "busy" },
  done: { text: "done", tone: "good" },
  failed: { text: "failed", tone: "bad" },
  expired: { text: "expired", tone: "warn" },
  cancelled: { text: "cancelled", tone: "idle" },
};
export const calibrationWords: Record<CalibrationState, Word> = {
  active: { text: "in use", tone: "good" },
  kept: { text: "not used", tone: "warn" },
  replaced: { text: "replaced", tone: "idle" },
  reverted: { text: "reverted", tone: "idle" },
};

export const isOpen = (job: ProfilingJob) => job.state === "queued" || job.state === "sent" || job.state === "running";

/** What a job does or why it ended; never empty. */
export function profilingSaying(job: ProfilingJob): string {
  if (job.message) return job.message;
  switch (job.state) {
    case "queued":
      return "It is told with its next order.";
    case "sent":
      return "The device was asked and has not begun yet.";
    case "running":
      return `It measures ${job.what === "device" ? "calibration nets" : "what it runs"} for ${job.seconds} s.`;
    case "done":
      return job.what === "device" ? "Its times are part of the profile's next fit." : "Its times stand in the report.";
    default:
      return "";
  }
}

/** "calibrated on 3 devices (±8 %)", as everywhere a prediction is shown. */
export function basisOf(active: Calibration | null): string {
  if (!active) return "datasheet (roofline, expect a factor of 2)";
  return `calibrated on ${plural(active.devices.length, "device")} (±${wholePercent(active.error.model_median)})`;
}

/** 0.083 -> "8 %"; below a tenth with one decimal. */
export function wholePercent(share: number): string {
  const value = 100 * share;
  return `${value >= 0.95 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

/** -0.12 -> "12 % too fast": what a prediction claims beside what was measured. */
export function errorWords(error: number): string {
  if (Math.abs(error) < 0.005) return "as predicted";
  return `${wholePercent(Math.abs(error))} too ${error < 0 ? "fast" : "slow"}`;
}

// What an operator is guessed by whose own kind was never measured: not a kind that somebody looks for.
const FALLBACKS = new Set(["products", "others"]);

/** Kinds that compute and kinds that move data, each by how much was measured of them. */
export function kindGroups(kinds: KindFit[]): { compute: KindFit[]; move: KindFit[] } {
  const own = kinds.filter((kind) => !FALLBACKS.has(kind.kind.split(" ")[0] ?? ""));
  const bySamples = (a: KindFit, b: KindFit) => b.samples - a.samples || a.kind.localeCompare(b.kind);
  return {
    compute: own.filter((kind) => kind.operations_per_us !== null).sort(bySamples),
    move: own.filter((kind) => kind.operations_per_us === null).sort(bySamples),
  };
}

/** What was thrown out and what disturbed, as sentences; empty when nothing did. */
export function reportNotes(report: ProfilingReport): string[] {
  const notes: string[] = [];
  const out = [
    report.throttled_runs > 0 ? `${plural(report.throttled_runs, "throttled run")}` : "",
    report.outliers > 0 ? `${plural(report.outliers, "outlier")}` : "",
  ].filter(Boolean);
  if (out.length > 0) notes.push(`Thrown out: ${out.join(" and ")}.`);
  if (report.inferences > 0) notes.push(`It answered ${plural(report.inferences, "request")} meanwhile.`);
  if (report.other_cpu_percent !== null && report.other_cpu_percent >= 5)
    notes.push(`Others used ${part(report.other_cpu_percent / 100)} of its processor.`);
  return notes;
}

export const took = (report: ProfilingReport) => (report.seconds === null ? "" : ` in ${span(report.seconds * 1000)}`);
