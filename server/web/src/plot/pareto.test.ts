import { describe, expect, it } from "vitest";
import { axisAround, axisTicks, dominated, namePlaces, placeOn, type Point, points } from "./pareto";

const point = (digest: string, bytes: number, accuracy: number | null): Point => ({
  digest, name: digest, bytes, accuracy, latency_us: null, low: null, high: null,
}); // prettier-ignore

describe("the Pareto front", () => {
  it("greys what another matches in both and beats in one", () => {
    const all = [point("small", 10, 0.9), point("good", 40, 0.99), point("bad", 40, 0.8), point("big", 20, 0.9)];
    expect([...dominated(all, (each) => each.bytes)].sort()).toEqual(["bad", "big"]);
  });
  it("keeps equals, and what was not measured is not judged", () => {
    const all = [point("a", 10, 0.9), point("b", 10, 0.9), point("c", 50, null)];
    expect(dominated(all, (each) => each.bytes).size).toBe(0);
    expect(dominated(all, (each) => each.latency_us).size).toBe(0);
  });
  it("names artifacts by recipe, and by profile where there are several", () => {
    const artifact = { model: "m", bytes: 1, created_at: 0, report: {}, recipe: "int8" };
    const [a, b] = points([{ ...artifact, digest: "1", profile: "pi" }, { ...artifact, digest: "2", profile: "pc" }]);
    expect([a!.name, b!.name]).toEqual(["int8, pi", "int8, pc"]);
    expect(points([{ ...artifact, digest: "1", profile: "pi" }])[0]!.name).toBe("int8");
  });
});

describe("accuracies of different rows", () => {
  it("are not set side by side: what a search chose by is not what tests", () => {
    const report = (split: string) => ({ accuracy: { before: 0.9, after: 0.99, metric: "top-1", n: 400, split } });
    const artifact = { model: "m", bytes: 1, created_at: 0, recipe: "int8", profile: "pi" };
    const [tested, chosenBy] = points([
      { ...artifact, digest: "1", report: report("test") },
      { ...artifact, digest: "2", report: report("selection") },
    ]);
    expect([tested!.accuracy, chosenBy!.accuracy]).toEqual([0.99, null]);
  });
});

describe("axes", () => {
  it("hold every value and a few round ticks", () => {
    for (const [values, log] of [[[70_000, 1_100_000], true], [[18, 20], true], [[0.98, 0.99], false], [[5, 5], false]] as const) {
      const axis = axisAround(values, log);
      for (const value of values) expect(placeOn(axis, value)).toBeGreaterThan(0);
      for (const value of values) expect(placeOn(axis, value)).toBeLessThan(100);
      const ticks = axisTicks(axis);
      expect(ticks.length).toBeGreaterThan(1);
      expect(ticks.length).toBeLessThan(8);
    }
  });
});

it("names of dots that lie close together do not cover each other", () => {
  const places = namePlaces([0, 1, 2, 3].map((i) => ({ left: 50 + i / 2, top: 50, name: "layer-distillation" })));
  expect(new Set(places.map((each) => `${each.anchor}${each.dy}`)).size).toBe(4);
});
