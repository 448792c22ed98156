import { describe, expect, it } from "vitest";
import type { Policy, Rollout, RolloutDevice } from "../api/rollouts";
import type { Release } from "../api/types";
import { gateWords, policyWords, rolloutDeviceSaying, rolloutProgress, rolloutSaying, rolloutWord, targetWords } from "./rollout";

const policy: Policy = {
  canary_per_profile: 1,
  canary_profiles: {},
  approve_canary: false,
  waves: [{ percent: 100, soak_s: 0, approve: false }],
  rate_per_minute: null,
  max_in_flight: null,
  max_failed: null,
  gates: {
    max_failure_ratio: null,
    p95_us: null,
    p95_ratio: null,
    rss_bytes: null,
    energy_ratio: null,
    min_agreement: null,
    confidence: 0.95,
    min_devices: 1,
    min_inferences: 100,
  },
  on_gate: "pause",
  start_at_ms: null,
  hours: [],
  timezone: "UTC",
  stage_timeout_s: null,
  deadline_ms: null,
  late_joiners: true,
  shadow: null,
  delivery: null,
  delta: "prefer",
  soak_s: 0,
  limits: { p95_us: null, rss_bytes: null },
};
const rollout = (change: Partial<Rollout>): Rollout => ({
  id: "r",
  release: { id: "x", model: "m", counter: 1, state: "signed" } as Release,
  state: "ramp",
  reason: "",
  policy,
  created_at: 0,
  stage_since: 0,
  finished_at: null,
  actor: null,
  counts: {},
  resume_state: null,
  wave: 1,
  waiting: "",
  begun_at: null,
  settled_at: null,
  approvals: [],
  target: null,
  awaits_approval: null,
  rollback_of: null,
  rolled_back_by: [],
  ...change,
});
const device = (change: Partial<RolloutDevice>): RolloutDevice => ({
  device: "d",
  profile: "p",
  digest: "",
  stage: "ramp",
  wave: 1,
  state: "waiting",
  reason: "",
  updated_at: 0,
  told_at: null,
  chunks_have: null,
  chunks_total: null,
  online: true,
  previous_digest: null,
  waiting: null,
  delta: false,
  via: null,
  ...change,
});

describe("a rollout's progress", () => {
  it("is nothing where no device is part of it", () => expect(rolloutProgress(rollout({}))).toBe(0));
  it("counts what is under way in part, and is whole only when all are settled", () => {
    expect(rolloutProgress(rollout({ counts: { committed: 1, fetching: 1 } }))).toBeCloseTo(0.75);
    expect(rolloutProgress(rollout({ counts: { committed: 2 } }))).toBe(1);
    expect(rolloutProgress(rollout({ counts: { committed: 1, failed: 1 } }))).toBe(0.5);
  });
});

it("a rollout says where it stands", () => {
  const waves = [
    { percent: 25, soak_s: 0, approve: false },
    { percent: 100, soak_s: 0, approve: false },
  ];
  const counts = { committed: 12, waiting: 28 };
  expect(rolloutSaying(rollout({ counts, wave: 1, policy: { ...policy, waves } }))).toBe("12 of 40 devices run it; at wave 1 of 2.");
  expect(rolloutSaying(rollout({ state: "paused", wave: 0, counts }))).toContain("stopped at the canaries");
  expect(rolloutSaying(rollout({ state: "done", counts: { committed: 3 } }))).toBe("3 of 3 devices run it.");
  expect(rolloutSaying(rollout({ state: "aborted", counts: { skipped: 2 }, rolled_back_by: ["x"] }))).toContain("rolled back: all 2 devices");
  expect(rolloutWord({ state: "aborted", rolled_back_by: [] }).text).toBe("aborted");
  const draft = rollout({ state: "draft", release: { state: "awaiting_signature" } as Release });
  expect(rolloutSaying(draft)).toContain("waits for a signature");
});

it("a device's own reason wins over our words, then why its download waits", () => {
  expect(rolloutDeviceSaying(device({ state: "failed", reason: "answers differ" }))).toBe("answers differ");
  const fetching = device({ state: "fetching", chunks_have: 3, chunks_total: 9, delta: true, via: "https" });
  expect(rolloutDeviceSaying(fetching)).toBe("3 of 9 chunks of the difference to what it runs over HTTPS");
  expect(rolloutDeviceSaying({ ...fetching, waiting: "waits until 22:00" })).toBe("waits until 22:00");
  expect(rolloutDeviceSaying(device({ state: "wanted", online: false }))).toContain("when it is online");
});

it("a usual policy is said in two short sentences", () => {
  expect(policyWords(policy)).toEqual(["1 canary a profile first", "pauses at the first failure"]);
});

it("a policy is said in words with its units", () => {
  const careful: Policy = {
    ...policy,
    canary_per_profile: 2,
    canary_profiles: { "jetson-orin-nano": 5 },
    waves: [
      { percent: 10, soak_s: 600, approve: false },
      { percent: 100, soak_s: 0, approve: true },
    ],
    rate_per_minute: 30,
    on_gate: "rollback",
    gates: { ...policy.gates, max_failure_ratio: 0.02, p95_ratio: 1.2 },
    shadow: { seconds: 60, requests: 1000, min_agreement: 0, min_requests: 0 },
    delta: "never",
    late_joiners: false,
  };
  expect(policyWords(careful)).toEqual([
    "2 canaries a profile first, 5 of jetson-orin-nano",
    "then 10 % watched for 10 min and 100 % once approved",
    "at most 30 devices a minute",
    "rolls back unless at most 2 % failed and p95 at most 1.2 times that of before",
    "each answers beside the old model for 1 min first",
    "devices that fit later do not join",
    "always whole artifacts",
  ]);
  expect(gateWords({ gates: policy.gates, limits: { p95_us: 40_000, rss_bytes: null } })).toEqual(["in the trial p95 at most 40 ms"]);
});

it("whom it is for", () => {
  expect(targetWords(null)).toBe("devices that were named");
  expect(targetWords({ profiles: [], labels: {}, groups: [], query: "" })).toBe("every enrolled device");
  expect(targetWords({ profiles: ["a", "b"], labels: { site: "h3" }, groups: ["test"], query: "not online" })).toBe(
    "devices of profile a or b, with site=h3, in group test, where not online",
  );
});
