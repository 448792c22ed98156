import { expect, test } from "vitest";
import type { KeptRule, RuleChoices } from "../api/alerts";
import { bodyOf, nameFor, NEW_RULE, ruleOf, ruleProblem, ruleUnit, withKind, withMetric } from "./rule_form";

const choices = {
  metrics: [
    { name: "latency_us", title: "Latency", unit: "µs", aggregates: ["p50", "p95"] },
    { name: "errors", title: "Errors", unit: "", aggregates: ["sum", "ratio", "per_s"] },
  ],
  rates: [{ name: "restarts", title: "Restarts", unit: "" }],
  drift: [{ name: "input_psi", title: "Drift", unit: "", aggregates: ["max", "mean"] }],
  server: [{ name: "disk_free_percent", title: "Free disk", unit: "%" }],
} as unknown as RuleChoices;
const rule = { ...NEW_RULE, name: "slow", title: "Slow" };

test.each([
  ["Latency above its usual", "latency-above-its-usual"],
  ["  Größe > 5 % ", "gro-e-5"],
  ["---", ""],
])("%s is named %s", (title, name) => expect(nameFor(title)).toBe(name));

test("a title of any length makes a name that the server takes", () => {
  const name = nameFor("a ".repeat(80));
  expect(ruleProblem({ ...rule, name })).toBeNull();
});

test("a metric keeps the aggregate that it has", () => {
  expect(withMetric(rule, choices.metrics[1]).aggregate).toBe("sum");
  expect(withMetric({ ...rule, aggregate: "ratio" }, choices.metrics[1]).aggregate).toBe("ratio");
});

test("each kind begins with limits that make sense", () => {
  expect(withKind(rule, "absence", choices)).toMatchObject({ metric: "", fire_at: 900, resolve_at: null, per: "device" });
  expect(withKind(rule, "drift", choices)).toMatchObject({ metric: "input_psi", aggregate: "max", fire_at: 0.25, resolve_at: 0.1 });
  expect(withKind(rule, "baseline", choices)).toMatchObject({ metric: "latency_us", fire_at: 1.5, baseline: { against: "own" } });
  const server = withKind(rule, "server", choices);
  expect(server).toMatchObject({ metric: "disk_free_percent", per: "fleet", group_by: [] });
  expect(withKind(server, "threshold", choices)).toMatchObject({ per: "device", group_by: ["profile"], baseline: null });
});

test("the unit is that of the value which is compared", () => {
  expect(ruleUnit(rule, choices)).toBe("µs");
  expect(ruleUnit({ ...rule, metric: "errors", aggregate: "ratio" }, choices)).toBe("");
  expect(ruleUnit({ ...rule, kind: "baseline" }, choices)).toBe("times");
  expect(ruleUnit({ ...rule, kind: "rate", metric: "restarts" }, choices)).toBe("an hour");
  expect(ruleUnit({ ...rule, kind: "absence" }, choices)).toBe("s");
});

test("hysteresis the wrong way round is told", () => {
  expect(ruleProblem({ ...rule, fire_at: 10, resolve_at: 20 })).toContain("at or below");
  expect(ruleProblem({ ...rule, direction: "below", fire_at: 10, resolve_at: 5 })).toContain("at or above");
  expect(ruleProblem({ ...rule, fire_at: NaN })).toContain("when it fires");
  expect(ruleProblem({ ...rule, title: " " })).toContain("title");
});

test("a kept rule comes back as it was written", () => {
  const kept = { ...rule, unit: "µs", words: "w", shipped: true, changed: false, runbook_link: "", firing: 0, updated_at: 0, actor: null } as KeptRule;
  expect(ruleOf(kept)).toEqual(rule);
  expect(bodyOf(ruleOf(kept))).not.toHaveProperty("name");
});
