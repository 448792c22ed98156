import { expect, test } from "vitest";
import { widenHalf } from "./half.ts";

/** The value of a float16, by its definition. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

test("every float16 keeps its value", () => {
  const view = new DataView(new ArrayBuffer(4));
  for (let bits = 0; bits < 0x10000; bits++) {
    view.setUint32(0, widenHalf(bits));
    if (!Object.is(view.getFloat32(0), half(bits))) throw new Error(`${bits}: ${view.getFloat32(0)}`);
  }
  expect(widenHalf(0x7e01)).toBe(0x7fc02000);
});
