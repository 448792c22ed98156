// Recipes in words and groups.

import type { Recipe } from "../api/types";

const FIRST = ["several methods", "quantization"]; // what most people want
const LAST = "as it is";

/** Recipes by kind, the kinds in the order in which people look for them. */
export function groups(recipes: readonly Recipe[]): [string, Recipe[]][] {
  const found = new Map<string, Recipe[]>();
  for (const each of recipes) found.set(each.kind, [...(found.get(each.kind) ?? []), each]);
  const rank = (kind: string) => (kind === LAST ? 100 : FIRST.includes(kind) ? FIRST.indexOf(kind) : 10);
  return [...found].sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
}

/** Behind a recipe's name: which data it needs, and whether they are missing. */
export function needsWords({ needs, lacks }: Recipe): string {
  if (needs === "none") return "";
  const what = needs === "labelled" ? "labelled data" : "sample inputs";
  return lacks === null ? ` (uses ${what})` : ` (needs ${what})`;
}

const DEFAULTS = ["balanced", "int8"]; // for who has no opinion

/** The one by this name, else the first of the defaults that can run. */
export const pick = (recipes: readonly Recipe[], name: string): Recipe | undefined =>
  [name, ...DEFAULTS].flatMap((wanted) => recipes.find((each) => each.name === wanted && (each.lacks === null || wanted === name)) ?? [])[0] ??
  recipes.find((each) => each.lacks === null) ??
  recipes[0];
