import { expect, it } from "vitest";
import { change } from "./change";

it.each([
  [100, 100, "worse", "as usual", "idle"],
  [112, 100, "worse", "12 % above usual", "idle"],
  [140, 100, "worse", "40 % above usual", "warn"],
  [230, 100, "worse", "2.3× the usual", "bad"],
  [2300, 100, "worse", "23× the usual", "bad"],
  [40, 100, "worse", "60 % below usual", "idle"],
  [40, 100, "better", "60 % below usual", "warn"],
  [300, 100, "neither", "3.0× the usual", "idle"],
] as const)("%d against %d, where more is %s: %s", (now, usual, more, text, tone) => {
  expect(change(now, usual, more)).toEqual({ text, tone });
});

it("says nothing where nothing is known", () => {
  expect(change(null, 5, "worse")).toBeNull();
  expect(change(5, null, "worse")).toBeNull();
  expect(change(5, 0, "worse")).toBeNull();
});
