import { expect, test } from "vitest";
import type { SearchBudget, Trial, TrialFigures } from "../api/searches";
import { allowed, dots, knownCosts, stairs } from "./search_points";

const none: SearchBudget = { latency_us: null, artifact_bytes: null, memory_bytes: null, energy_mj: null, max_drop: null };

function trial(number: number, figures: Partial<TrialFigures> | null, change: Partial<Trial> = {}): Trial {
  const whole = {
    accuracy: null, drop: null, loss: null, loss_error: null, samples: null, split: null, accuracy_basis: null,
    latency_us: null, latency_error: null, latency_basis: null, artifact_bytes: null, bytes_basis: null,
    memory_bytes: null, memory_basis: null, energy_mj: null, energy_basis: null, predicted: [],
  };
  return {
    number, state: "done", stage: "evaluated", title: `try ${number}`, reason: "", recipe: {},
    figures: figures === null ? null : { ...whole, ...figures },
    tested: null, within: null, on_front: false, error: null, seconds: null, attempts: 1, artifact: null, ...change,
  };
}

test("a trial without the cost, or that failed, is no dot", () => {
  const all = [
    trial(0, { latency_us: 100, loss: 0 }),
    trial(1, { artifact_bytes: 5, loss: 0 }),
    trial(2, null, { state: "failed" }),
    trial(3, { latency_us: 50 }, { state: "running" }),
  ];
  expect(dots(all, "latency_us").map((each) => each.number)).toEqual([0]);
});

test("accuracy counts in points from the original, and one that was only predicted has none", () => {
  const [first, second] = dots(
    [trial(1, { latency_us: 10, loss: 0.012, loss_error: 0.002 }), trial(2, { latency_us: 5 }, { stage: "predicted" })],
    "latency_us",
  );
  expect(first).toMatchObject({ points: -1.2, error: 0.2, stage: "evaluated" });
  expect(second).toMatchObject({ points: null, error: null, stage: "predicted" });
});

test("the stairs hold what nothing beats in both, by cost", () => {
  const all = dots(
    [
      trial(0, { latency_us: 100, loss: 0 }),
      trial(1, { latency_us: 50, loss: 0.01 }),
      trial(2, { latency_us: 60, loss: 0.02 }),
      trial(3, { latency_us: 20, loss: 0.05 }),
      trial(4, { latency_us: 10 }, { stage: "predicted" }),
    ],
    "latency_us",
  );
  expect(stairs(all)).toEqual([
    { cost: 20, points: -5 },
    { cost: 50, points: -1 },
    { cost: 100, points: 0 },
  ]);
});

test("what the budget allows of two axes; a limit elsewhere says nothing here", () => {
  expect(allowed({ ...none, latency_us: 20, max_drop: 0.01 }, "latency_us")).toEqual({ cost: 20, points: -1 });
  expect(allowed({ ...none, latency_us: 20 }, "artifact_bytes")).toBeNull();
  expect(allowed({ ...none, max_drop: 0 }, "energy_mj")).toEqual({ cost: null, points: 0 });
});

test("costs that are limited come first, those that no trial knows are left out", () => {
  const all = [trial(0, { latency_us: 1, artifact_bytes: 2 })];
  expect(knownCosts(all, { ...none, artifact_bytes: 5 })).toEqual(["artifact_bytes", "latency_us"]);
});
