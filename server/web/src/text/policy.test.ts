import { expect, test } from "vitest";
import { NO_RULES } from "./delivery";
import { FIRST_POLICY, policySummary, readPolicy, readWaves } from "./policy";

test("what nobody changed is left to the server", () => {
  expect(readPolicy(FIRST_POLICY)).toEqual({ canary_per_profile: 1, soak_s: 0 });
  expect(policySummary(FIRST_POLICY)).toBe("1 canary a profile first, then the others");
});

test("units are the API's", () => {
  const text = {
    ...FIRST_POLICY,
    waves: "10, 50%, 100",
    waveSoak: "2",
    failed: "3",
    p95: "40",
    rssGate: "64",
    failedShare: "2",
    p95Ratio: "1,2",
    shadow: "60",
    agreement: "99",
    rate: "30",
    deadline: "2",
    hours: "22:00-06:00",
    timezone: "Europe/Berlin",
    onGate: "rollback" as const,
    delivery: { ...NO_RULES, rate: "200" },
  };
  expect(readPolicy(text, 1000)).toEqual({
    canary_per_profile: 1,
    soak_s: 0,
    waves: [
      { percent: 10, soak_s: 120, approve: false },
      { percent: 50, soak_s: 120, approve: false },
      { percent: 100, soak_s: 0, approve: false },
    ],
    max_failed: 3,
    limits: { p95_us: 40_000 },
    gates: { max_failure_ratio: 0.02, p95_ratio: 1.2, rss_bytes: 67_108_864, min_agreement: 0.99 },
    on_gate: "rollback",
    rate_per_minute: 30,
    deadline_ms: 7_201_000,
    hours: ["22:00-06:00"],
    timezone: "Europe/Berlin",
    shadow: { seconds: 60 },
    delivery: { rate_bytes_s: 200_000, hours: [], timezone: "UTC", metered: "allow", transport: "auto", start_within_s: 0 },
  });
  expect(policySummary(text)).toBe("1 canary a profile first, then 10, 50, 100 %");
});

test.each([
  ["", "how far"],
  ["50, 10, 100", "larger"],
  ["10, 50", "last wave is 100"],
  ["10, 200", "percents"],
])("waves %s: %s", (waves, sentence) => expect(readWaves(waves)).toContain(sentence));

test("agreement without shadow mode is refused before it is sent", () => {
  expect(readPolicy({ ...FIRST_POLICY, agreement: "99" })).toContain("shadow mode");
});
