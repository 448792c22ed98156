import { expect, test } from "vitest";
import type { Figures } from "../api/telemetry";
import { artifactName, compared, ratioWords } from "./field";

const figures = (change: Partial<Figures>): Figures => ({ devices: 1, inferences: 10, errors: 0, ...change }) as Figures;

test("only what was measured on a side is compared", () => {
  const found = compared(figures({ p95_us: 100, rss_bytes: null }), figures({ p95_us: 150, energy_mj: 2 }));
  expect(found.map((each) => each.of.key)).toEqual(["p95_us", "energy_mj"]);
  expect(found[0]!.change).toBeCloseTo(50);
  expect(found[1]!.change).toBeNull();
});

test("without a before there is no change", () => {
  expect(compared(null, figures({ p50_us: 1 }))[0]).toMatchObject({ before: null, after: 1, change: null });
});

test.each([
  [1.07, "7 % more than measured"],
  [0.5, "50 % less than measured"],
  [1.004, "as measured"],
  [null, ""],
])("a ratio of %s is %s", (ratio, words) => expect(ratioWords(ratio)).toBe(words));

test("an artifact names its profile where there are several", () => {
  const one = { recipe: "int8", profile: "pi", release: 3 };
  expect(artifactName(one, 2)).toBe("int8 for pi, release 3");
  expect(artifactName({ ...one, release: null }, 1)).toBe("int8");
});
