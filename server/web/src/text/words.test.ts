import { expect, it } from "vitest";
import { method } from "./words";

it("an estimate never wears a measurement's name", () => {
  expect(method("estimate:idle+cpu")).toEqual({ word: "estimate", how: "idle+cpu" });
  expect(method("ina3221")).toEqual({ word: "measured", how: "ina3221" });
  expect(method(null)).toBeNull();
});
