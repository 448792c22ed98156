import { expect, test } from "vitest";
import type { Decision, What } from "../api/rollouts";
import { bands, stageMarks, withRoom } from "./timeline";

const timeline = {
  at: [1000, 2000, 5000],
  counts: { waiting: [10, 4, 0], wanted: [0, 4, 0], fetching: [0, 2, 1], committed: [0, 0, 8], failed: [0, 0, 1] },
};

test("bands add up to all devices at every moment, and last until now", () => {
  const found = bands(timeline, 9000);
  expect(found.at).toEqual([1000, 2000, 5000, 9000]);
  expect(found.total).toBe(10);
  expect(found.bands[found.bands.length - 1]!.top).toEqual([10, 10, 10, 10]);
  expect(found.bands.map((band) => band.key)).toEqual(["committed", "failed", "under-way", "waiting"]);
  expect(found.bands.find((band) => band.key === "under-way")!.values).toEqual([0, 6, 1, 1]);
});

test("a rollout without devices has no bands", () => {
  expect(bands({ at: [], counts: {} }, 1)).toEqual({ at: [], bands: [], total: 0 });
});

const decision = (at: number, what: What, wave = 0): Decision => ({ id: at, at, wave, what, why: "", actor: null });

test("what changes the rollout is marked, and what is only said is not", () => {
  const told = [decision(1, "created"), decision(2, "begun"), decision(3, "passed"), decision(4, "begun", 1), decision(5, "paused", 1)];
  expect(stageMarks(told, 3).map((mark) => mark.label)).toEqual(["canaries", "wave 1", "paused"]);
  expect(stageMarks(told, 1)[1]!.label).toBe("ramp");
});

test("labels without room are left out, the newest stays", () => {
  const marks = [0, 10, 100].map((x) => ({ x, width: 30 }));
  expect([...withRoom(marks)].map((mark) => mark.x)).toEqual([100, 10]);
});
