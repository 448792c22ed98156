import { describe, expect, it } from "vitest";
import type { Release, Rollout, RolloutDevice } from "../api/types";
import { method, policyWords, rolloutDeviceSaying, rolloutProgress, rolloutSaying } from "./words";

function rollout(change: Partial<Rollout>): Rollout {
  return {
    id: "r",
    release: { id: "x", model: "m", counter: 1, artifacts: {}, note: "", created_at: 0 } as Release,
    state: "ramp",
    reason: "",
    policy: { canary_per_profile: 1, max_failed: 0, soak_s: 0 },
    created_at: 0,
    stage_since: 0,
    finished_at: null,
    counts: {},
    devices: [],
    ...change,
  };
}
const one = (change: Partial<RolloutDevice>): RolloutDevice => ({
  device: "d",
  profile: "p",
  digest: "",
  stage: "ramp",
  state: "waiting",
  reason: "",
  updated_at: 0,
  chunks_have: null,
  chunks_total: null,
  ...change,
});

describe("a rollout's progress", () => {
  it("is nothing where no device is part of it", () => {
    expect(rolloutProgress(rollout({}))).toBe(0);
  });
  it("counts chunks of a device that fetches, and is whole only when all run it", () => {
    const half = rollout({
      counts: { committed: 1, fetching: 1 },
      devices: [one({ state: "committed" }), one({ state: "fetching", chunks_have: 5, chunks_total: 10 })],
    });
    expect(rolloutProgress(half)).toBeCloseTo(0.7);
    expect(rolloutProgress(rollout({ counts: { committed: 2 } }))).toBe(1);
    expect(rolloutProgress(rollout({ counts: { committed: 1, failed: 1 } }))).toBe(0.5);
  });
});

it("a rollout says how many canaries run it, then how many devices", () => {
  const devices = [one({ stage: "canary", state: "committed" }), one({ stage: "canary" }), one({})];
  expect(rolloutSaying(rollout({ state: "canary", devices, counts: { committed: 1, waiting: 2 } }))).toContain(
    "1 of 2 canaries run it",
  );
  expect(rolloutSaying(rollout({ state: "done", counts: { committed: 3 } }))).toBe("3 of 3 devices run it.");
  expect(rolloutSaying(rollout({ state: "paused", counts: { committed: 1, failed: 1 } }))).toContain("until it is resumed");
});

it("a device's own reason wins over our words", () => {
  expect(rolloutDeviceSaying(one({ state: "failed", reason: "answers differ" }))).toBe("answers differ");
  expect(rolloutDeviceSaying(one({ state: "fetching", chunks_have: 3, chunks_total: 9 }))).toBe("3 of 9 chunks");
  expect(rolloutDeviceSaying(one({ stage: "ramp" }))).toBe("Waits for the canaries");
});

it("a policy is said in words with its units", () => {
  expect(
    policyWords({ canary_per_profile: 2, max_failed: 1, soak_s: 30, limits: { p95_us: 40_000, rss_bytes: null } }),
  ).toEqual(["2 canaries a profile first", "pauses after more than 1 failure", "soaks 30 s", "p95 at most 40 ms"]);
});

it("an estimate never wears a measurement's name", () => {
  expect(method("estimate:idle+cpu")).toEqual({ word: "estimate", how: "idle+cpu" });
  expect(method("ina3221")).toEqual({ word: "measured", how: "ina3221" });
  expect(method(null)).toBeNull();
});
