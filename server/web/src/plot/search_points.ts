// Trials of a search as dots: accuracy against a cost, the front among them, and the part that the budget allows.

import type { Cost, SearchBudget, Stage, Trial } from "../api/searches";

export interface Dot {
  number: number;
  title: string;
  cost: number;
  points: number | null; // accuracy less the original's, hundredths; null: not looked at
  error: number | null; // standard error of `points`
  stage: Stage;
  within: boolean | null;
  original: boolean;
}

/** Those with the cost; the accuracy of a trial that was only predicted is not known. */
export function dots(trials: readonly Trial[], cost: Cost): Dot[] {
  return trials.flatMap((trial) => {
    const own = trial.figures?.[cost] ?? null;
    if (trial.figures === null || trial.state !== "done" || own === null || own <= 0) return [];
    const { loss, loss_error } = trial.figures;
    return [
      {
        number: trial.number,
        title: trial.title,
        cost: own,
        points: loss === null ? null : -100 * loss + 0, // + 0: never -0
        error: loss_error === null ? null : 100 * loss_error,
        stage: trial.stage,
        within: trial.within,
        original: trial.number === 0,
      },
    ];
  });
}

export interface Corner {
  cost: number;
  points: number;
}

/** Corners of the stairs that no dot lies above and left of, by cost. */
export function stairs(all: readonly Dot[]): Corner[] {
  const known = all.flatMap(({ cost, points, stage }) => (points === null || stage === "predicted" ? [] : [{ cost, points }]));
  known.sort((a, b) => a.cost - b.cost || b.points - a.points);
  const found: Corner[] = [];
  for (const each of known) if (found.length === 0 || each.points > found[found.length - 1]!.points) found.push(each);
  return found;
}

export interface Allowed {
  cost: number | null; // at most
  points: number | null; // at least
}

/** What the budget says of these two axes; null where it says nothing of either. */
export function allowed(budget: SearchBudget, cost: Cost): Allowed | null {
  const found = { cost: budget[cost], points: budget.max_drop === null ? null : -100 * budget.max_drop + 0 };
  return found.cost === null && found.points === null ? null : found;
}

export const COSTS: readonly Cost[] = ["latency_us", "artifact_bytes", "memory_bytes", "energy_mj"];

/** Costs that at least one trial has, those with a limit first. */
export function knownCosts(trials: readonly Trial[], budget: SearchBudget): Cost[] {
  const known = COSTS.filter((cost) => trials.some((trial) => (trial.figures?.[cost] ?? null) !== null));
  return [...known].sort((a, b) => Number(budget[b] !== null) - Number(budget[a] !== null));
}
