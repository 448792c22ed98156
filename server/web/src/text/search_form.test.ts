import { expect, test } from "vitest";
import { emptySearch, hasLimit, searchBody, searchProblems } from "./search_form";

test("units become those of the API, and empty limits are left out", () => {
  const form = { ...emptySearch, latency_ms: "20", size_mb: "2", drop_points: "0.7", minutes: "5", device: "pi" };
  expect(searchBody("m", "p", form, true)).toEqual({
    model: "m",
    profile: "p",
    budget: { latency_us: 20_000, artifact_bytes: 2_000_000, max_drop: 0.007 },
    options: { seconds: 300, workers: 1, device: "pi" },
  });
});

test("without a data set nothing is asked of the accuracy", () => {
  expect(searchBody("m", "p", { ...emptySearch, latency_ms: "1" }, false).budget).toEqual({ latency_us: 1000 });
});

test("nonsense is told at its field", () => {
  const form = { ...emptySearch, latency_ms: "-1", size_mb: "many", drop_points: "101", minutes: "", workers: "1.5" };
  expect(Object.keys(searchProblems(form)).sort()).toEqual(["drop_points", "latency_ms", "minutes", "size_mb", "workers"]);
  expect(searchProblems(emptySearch)).toEqual({});
});

test("one limit at least is needed", () => {
  expect(hasLimit(emptySearch)).toBe(true);
  expect(hasLimit({ ...emptySearch, drop_points: " " })).toBe(false);
});
