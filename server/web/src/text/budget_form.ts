// What a person types into the budget form, as the API takes it.

import type { Budget } from "../api/findings";

export interface BudgetForm {
  latency_ms: string;
  memory_mb: string;
  energy_mj: string;
  size_mb: string;
  drop_points: string;
  prediction_percent: string;
  minutes: string;
  auto: boolean;
}

export const emptyForm: BudgetForm = {
  latency_ms: "",
  memory_mb: "",
  energy_mj: "",
  size_mb: "",
  drop_points: "",
  prediction_percent: "",
  minutes: "3",
  auto: false,
};

const text = (value: number | null, unit: number) => (value === null ? "" : String(Number((value / unit).toPrecision(6))));

export function formOf(budget: Budget): BudgetForm {
  return {
    latency_ms: text(budget.latency_us, 1000),
    memory_mb: text(budget.memory_bytes, 1e6),
    energy_mj: text(budget.energy_mj, 1),
    size_mb: text(budget.artifact_bytes, 1e6),
    drop_points: text(budget.max_drop, 0.01),
    prediction_percent: text(budget.prediction_error, 0.01),
    minutes: String(budget.sustained_minutes),
    auto: budget.auto,
  };
}

type Numbers = Exclude<keyof BudgetForm, "auto">;

/** What is wrong with each field; empty where nothing is. */
export function problems(form: BudgetForm): Partial<Record<Numbers, string>> {
  const found: Partial<Record<Numbers, string>> = {};
  const check = (name: Numbers, low: number, high: number, words: string, open = true) => {
    const typed = form[name].trim();
    if (typed === "" && name !== "minutes") return;
    const value = Number(typed);
    if (typed === "" || !Number.isFinite(value) || value < low || (open && value === low) || value > high) found[name] = words;
  };
  check("latency_ms", 0, 1e9, "Give milliseconds above 0, such as 20.");
  check("memory_mb", 0, 1e9, "Give megabytes above 0, such as 64.");
  check("energy_mj", 0, 1e12, "Give millijoules above 0, such as 5.");
  check("size_mb", 0, 1e9, "Give megabytes above 0, such as 2.");
  check("drop_points", 0, 100, "Give points from 0 to 100, such as 1.", false);
  check("prediction_percent", 5, 10_000, "Give per cent from 5, such as 50.", false);
  check("minutes", 1, 1440, "Give whole minutes from 1 to 1440.", false);
  if (!found.minutes && !Number.isInteger(Number(form.minutes))) found.minutes = "Give whole minutes from 1 to 1440.";
  return found;
}

/** Whether devices can be held against it at all. */
export const watches = (form: BudgetForm) =>
  [form.latency_ms, form.memory_mb, form.energy_mj, form.prediction_percent].some((typed) => typed.trim() !== "");

/** The body of POST /budgets; what the form does not show stays as it was. */
export function body(model: string, profile: string, form: BudgetForm, old: Budget | null): Record<string, unknown> {
  const number = (typed: string, unit: number, whole = false) => {
    if (typed.trim() === "") return null;
    const value = Number(typed) * unit;
    return whole ? Math.max(1, Math.round(value)) : value;
  };
  const minutes = Number(form.minutes);
  return {
    model,
    profile,
    latency_us: number(form.latency_ms, 1000),
    memory_bytes: number(form.memory_mb, 1e6, true),
    energy_mj: number(form.energy_mj, 1),
    artifact_bytes: number(form.size_mb, 1e6, true),
    max_drop: number(form.drop_points, 0.01),
    prediction_error: number(form.prediction_percent, 0.01),
    auto: form.auto,
    sustained_minutes: minutes,
    window_s: Math.max(old?.window_s ?? 600, 60 * minutes),
    ...(old ? { profiling_s: old.profiling_s, search: old.search } : {}),
  };
}
