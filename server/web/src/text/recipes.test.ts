import { describe, expect, it } from "vitest";
import type { Recipe } from "../api/types";
import { groups, needsWords, pick } from "./recipes";

const recipe = (name: string, kind: string, more: Partial<Recipe> = {}): Recipe => ({
  name, kind, description: "", source: "", needs: "none", lacks: null, takes_budget: false, ...more,
}); // prettier-ignore

const all = [
  recipe("none", "as it is"),
  recipe("gradual-pruning", "pruning", { needs: "labelled", lacks: "needs labelled samples" }),
  recipe("int8", "quantization"),
  recipe("best-bytes", "several methods", { needs: "labelled", lacks: "needs labelled samples" }),
];

describe("choosing a recipe", () => {
  it("groups by kind, what most people want first and what does nothing last", () => {
    expect(groups(all).map(([kind]) => kind)).toEqual(["several methods", "quantization", "pruning", "as it is"]);
  });
  it("starts with one that can run with the data there are", () => {
    expect(pick(all, "")?.name).toBe("int8");
    expect(pick([...all, recipe("balanced", "several methods")], "")?.name).toBe("balanced");
    expect(pick(all.slice(1, 2), "")?.name).toBe("gradual-pruning");
    expect(pick([], "")).toBeUndefined();
  });
  it("keeps what a person chose, though its data are missing: the dialog says so", () => {
    expect(pick(all, "best-bytes")?.name).toBe("best-bytes");
  });
  it("says which data it uses, or lacks", () => {
    expect(all.map(needsWords)).toEqual(["", " (needs labelled data)", "", " (needs labelled data)"]);
    expect(needsWords({ ...all[1]!, lacks: null })).toBe(" (uses labelled data)");
  });
});
