import { expect, it } from "vitest";
import type { Calibration, KindFit, ProfilingJob, ProfilingReport } from "../api/calibration";
import { basisOf, errorWords, isOpen, kindGroups, profilingSaying, profilingWords, reportNotes, wholePercent } from "./calibration";

const job = (more: Partial<ProfilingJob>): ProfilingJob => ({
  id: "a",
  device: "pi-4",
  profile: "raspberry-pi-4",
  what: "device",
  digest: null,
  seconds: 60,
  state: "queued",
  percent: 0,
  message: "",
  created_at: 0,
  expires_at: 0,
  finished_at: null,
  ...more,
});
const kind = (name: string, samples: number, operations: number | null): KindFit => ({
  kind: name,
  operations_per_us: operations,
  bytes_per_us: 1,
  overhead_us: 1,
  samples,
  error: null,
  datasheet_operations_per_us: 1,
  datasheet_bytes_per_us: 1,
});
const report = (more: Partial<ProfilingReport>): ProfilingReport =>
  ({ throttled_runs: 0, outliers: 0, inferences: 0, other_cpu_percent: null, reason: null, ...more }) as ProfilingReport;

it("a job says what it does, or why it ended", () => {
  for (const state of ["queued", "sent", "running", "done"] as const) expect(profilingSaying(job({ state }))).toMatch(/\.$/);
  expect(profilingSaying(job({ state: "failed", message: "It died twice." }))).toBe("It died twice.");
  expect(Object.keys(profilingWords).filter((state) => isOpen(job({ state: state as ProfilingJob["state"] })))).toEqual(["queued", "sent", "running"]);
});

it("what predictions rest on is said with its error", () => {
  expect(basisOf(null)).toContain("datasheet");
  const active = { devices: ["a", "b", "c"], error: { model_median: 0.083 } } as Calibration;
  expect(basisOf(active)).toBe("calibrated on 3 devices (±8 %)");
});

it.each([
  [0.083, "8 %"],
  [0.004, "0.4 %"],
  [0, "0 %"],
  [1.36, "136 %"],
])("%d is %s", (share, text) => expect(wholePercent(share)).toBe(text));

it("an error says in which direction", () => {
  expect(errorWords(0.12)).toBe("12 % too slow");
  expect(errorWords(-0.12)).toBe("12 % too fast");
  expect(errorWords(0.001)).toBe("as predicted");
});

it("kinds come by what was measured of them, without those that stand in for others", () => {
  const groups = kindGroups([kind("Add fp32", 3, null), kind("pointwise fp32", 9, 5), kind("depthwise fp32", 20, 5), kind("products fp32", 99, 5), kind("others fp32", 99, 5)]);
  expect(groups.compute.map((each) => each.kind)).toEqual(["depthwise fp32", "pointwise fp32"]);
  expect(groups.move.map((each) => each.kind)).toEqual(["Add fp32"]);
});

it("a report says what was thrown out and what disturbed, and nothing where nothing did", () => {
  expect(reportNotes(report({}))).toEqual([]);
  expect(reportNotes(report({ throttled_runs: 1, outliers: 3, inferences: 2, other_cpu_percent: 31 }))).toEqual([
    "Thrown out: 1 throttled run and 3 outliers.",
    "It answered 2 requests meanwhile.",
    "Others used 31.0 % of its processor.",
  ]);
});
