import { describe, expect, test } from "vitest";
import type { Budget } from "../api/findings";
import { body, emptyForm, formOf, problems, watches } from "./budget_form";

const form = { ...emptyForm, latency_ms: "20", drop_points: "1", auto: true };

describe("the budget form", () => {
  test("turns what people type into the API's units", () => {
    expect(body("lenet", "raspberry-pi-4", { ...form, memory_mb: "64", prediction_percent: "50" }, null)).toEqual({
      model: "lenet",
      profile: "raspberry-pi-4",
      latency_us: 20_000,
      memory_bytes: 64_000_000,
      energy_mj: null,
      artifact_bytes: null,
      max_drop: 0.01,
      prediction_error: 0.5,
      auto: true,
      sustained_minutes: 3,
      window_s: 600,
    });
  });

  test("keeps what it does not show, and a window that holds its minutes", () => {
    const old = { window_s: 900, profiling_s: 30, search: { seconds: 60 } } as unknown as Budget;
    expect(body("m", "p", { ...form, minutes: "30" }, old)).toMatchObject({ window_s: 1800, profiling_s: 30, search: { seconds: 60 } });
  });

  test("shows a budget as it would be typed", () => {
    const budget = {
      latency_us: 20_000, memory_bytes: null, energy_mj: 5.5, artifact_bytes: 2_000_000, max_drop: 0.01,
      prediction_error: null, sustained_minutes: 3, auto: false,
    } as unknown as Budget;
    expect(formOf(budget)).toEqual({ ...emptyForm, latency_ms: "20", energy_mj: "5.5", size_mb: "2", drop_points: "1" });
  });

  test.each([
    ["latency_ms", "0"],
    ["latency_ms", "fast"],
    ["memory_mb", "-1"],
    ["drop_points", "101"],
    ["prediction_percent", "2"],
    ["minutes", ""],
    ["minutes", "1.5"],
  ] as const)("says what is wrong with %s = %j", (name, typed) => {
    expect(problems({ ...form, [name]: typed })[name]).toMatch(/^Give /);
  });

  test("finds nothing wrong with a good one, and an allowed drop of zero is one", () => {
    expect(problems({ ...form, drop_points: "0" })).toEqual({});
  });

  test("a size or a drop alone is nothing that devices could miss", () => {
    expect(watches({ ...emptyForm, size_mb: "2", drop_points: "1" })).toBe(false);
    expect(watches(form)).toBe(true);
  });
});
