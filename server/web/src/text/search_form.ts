// What a person types when asking for a search, as the API takes it.

export interface SearchForm {
  latency_ms: string;
  size_mb: string;
  memory_mb: string;
  energy_mj: string;
  drop_points: string;
  minutes: string;
  workers: string;
  device: string;
}

export const emptySearch: SearchForm = {
  latency_ms: "",
  size_mb: "",
  memory_mb: "",
  energy_mj: "",
  drop_points: "1",
  minutes: "15",
  workers: "1",
  device: "",
};

export type Limit = "latency_ms" | "size_mb" | "memory_mb" | "energy_mj" | "drop_points";
type Numbers = Limit | "minutes" | "workers";

/** What is wrong with each field; empty where nothing is. */
export function searchProblems(form: SearchForm): Partial<Record<Numbers, string>> {
  const found: Partial<Record<Numbers, string>> = {};
  const above = (name: Limit, words: string) => {
    const typed = form[name].trim();
    if (typed !== "" && !(Number(typed) > 0 && Number(typed) <= 1e9)) found[name] = words;
  };
  above("latency_ms", "Give milliseconds above 0, such as 20.");
  above("size_mb", "Give megabytes above 0, such as 2.");
  above("memory_mb", "Give megabytes above 0, such as 64.");
  above("energy_mj", "Give millijoules above 0, such as 5.");
  const drop = form.drop_points.trim();
  if (drop !== "" && !(Number(drop) >= 0 && Number(drop) <= 100)) found.drop_points = "Give points from 0 to 100, such as 1.";
  if (!(Number(form.minutes) >= 0.2 && Number(form.minutes) <= 10_000)) found.minutes = "Give minutes, such as 15.";
  const workers = Number(form.workers);
  if (!(Number.isInteger(workers) && workers >= 1 && workers <= 64)) found.workers = "Give a whole number from 1 to 64.";
  return found;
}

export const hasLimit = (form: SearchForm) =>
  [form.latency_ms, form.size_mb, form.memory_mb, form.energy_mj, form.drop_points].some((typed) => typed.trim() !== "");

/** `dataset` false: the model has none, so nothing is said about accuracy. */
export function searchBody(model: string, profile: string, form: SearchForm, dataset: boolean) {
  const limit = (name: string, typed: string, unit: number, whole = false) => {
    const value = Number(typed) * unit;
    return typed.trim() === "" ? {} : { [name]: whole ? Math.round(value) : Number(value.toPrecision(12)) };
  };
  return {
    model,
    profile,
    budget: {
      ...limit("latency_us", form.latency_ms, 1000),
      ...limit("artifact_bytes", form.size_mb, 1e6, true),
      ...limit("memory_bytes", form.memory_mb, 1e6, true),
      ...limit("energy_mj", form.energy_mj, 1),
      ...(dataset ? limit("max_drop", form.drop_points, 0.01) : {}),
    },
    options: {
      seconds: Math.max(10, Math.round(Number(form.minutes) * 60)),
      workers: Number(form.workers),
      ...(form.device ? { device: form.device } : {}),
    },
  };
}
