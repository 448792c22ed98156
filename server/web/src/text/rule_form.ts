// A rule as its form holds it: which fields a kind has, what a new one begins with, what is missing.

import type { KeptRule, Rule, RuleChoices, RuleKind } from "../api/alerts";

export const NEW_RULE: Rule = {
  name: "",
  title: "",
  kind: "threshold",
  severity: "warning",
  enabled: true,
  metric: "latency_us",
  aggregate: "p95",
  window_s: 300,
  direction: "above",
  fire_at: 50_000,
  resolve_at: 40_000,
  for_s: 120,
  resolve_for_s: 120,
  least: 20,
  also: [],
  baseline: null,
  absent: "offline",
  query: "",
  per: "device",
  group_by: ["profile"],
  channels: [],
  repeat_s: 14_400,
  runbook: "",
  note: "",
};

/** "Latency above its usual" -> "latency-above-its-usual". */
export const nameFor = (title: string): string =>
  title
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63)
    .replace(/-+$/, "");

type Choosable = RuleChoices["metrics"][number];

/** What a kind of rule may watch. */
export function metricsOf(kind: RuleKind, choices: RuleChoices): readonly Choosable[] {
  switch (kind) {
    case "rate":
      return choices.rates;
    case "drift":
      return choices.drift;
    case "server":
      return choices.server;
    case "absence":
      return [];
    default:
      return choices.metrics;
  }
}

/** Another kind keeps what still means something and begins anew with the rest. */
export function withKind(rule: Rule, kind: RuleKind, choices: RuleChoices): Rule {
  const offered = metricsOf(kind, choices);
  const metric = offered.find((each) => each.name === rule.metric) ?? offered[0];
  const next: Rule = { ...rule, kind, baseline: kind === "baseline" ? (rule.baseline ?? { against: "own", hours: 24, deviations: 3 }) : null };
  if (kind === "absence") return { ...next, metric: "", per: "device", direction: "above", fire_at: 900, resolve_at: null, for_s: 0, also: [] };
  if (kind === "server") return { ...next, metric: metric?.name ?? "", per: "fleet", query: "", group_by: [], fire_at: 0, resolve_at: null, also: [] };
  const per = rule.per === "fleet" && rule.kind === "server" ? "device" : rule.per;
  const group_by = rule.kind === "server" ? ["profile"] : rule.group_by;
  const limits = kind === "baseline" ? { fire_at: 1.5, resolve_at: 1.2 } : kind === "drift" ? { fire_at: 0.25, resolve_at: 0.1 } : {};
  return withMetric({ ...next, per, group_by, ...limits }, metric);
}

export function withMetric(rule: Rule, metric: Choosable | undefined): Rule {
  if (!metric) return rule;
  const allowed = metric.aggregates ?? [];
  const aggregate = allowed.length === 0 || allowed.includes(rule.aggregate) ? rule.aggregate : allowed.includes("p95") ? "p95" : allowed[0]!;
  return { ...rule, metric: metric.name, aggregate };
}

/** The unit of fire_at. */
export function ruleUnit(rule: Rule, choices: RuleChoices): string {
  if (rule.kind === "baseline") return "times";
  if (rule.kind === "absence") return "s";
  if (rule.aggregate === "ratio" && rule.kind !== "rate") return "";
  const unit = metricsOf(rule.kind, choices).find((each) => each.name === rule.metric)?.unit ?? "";
  return rule.kind === "rate" ? `${unit} an hour`.trim() : rule.aggregate === "per_s" ? `${unit}/s` : unit;
}

/** What keeps a rule from being saved, in words; the server has the last word. */
export function ruleProblem(rule: Rule): string | null {
  if (rule.title.trim() === "") return "Give it a title.";
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(rule.name)) return "Its name takes a-z, 0-9 and dashes.";
  if (!Number.isFinite(rule.fire_at)) return "Say when it fires.";
  if (rule.kind !== "absence" && rule.metric === "") return "Choose what it watches.";
  if (rule.resolve_at !== null) {
    if (!Number.isFinite(rule.resolve_at)) return "Say when it resolves, or leave it empty.";
    const wrong = rule.direction === "above" ? rule.resolve_at > rule.fire_at : rule.resolve_at < rule.fire_at;
    if (wrong) return `It must resolve ${rule.direction === "above" ? "at or below" : "at or above"} the value at which it fires.`;
  }
  return null;
}

/** What the API takes: a rule without its name, which is in the address. */
export function bodyOf({ name: _, ...body }: Rule): Omit<Rule, "name"> {
  return body;
}

export const ruleOf = (kept: KeptRule): Rule =>
  Object.fromEntries(Object.keys(NEW_RULE).map((key) => [key, kept[key as keyof Rule]])) as unknown as Rule;
