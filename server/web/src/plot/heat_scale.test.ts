import { describe, expect, it } from "vitest";
import { againstGroup, boundsOf, CLASSES, classOf, heatColor, median, RATIO_BOUNDS } from "./heat_scale";

/** Relative luminance after WCAG 2. */
function luminance(hex: string): number {
  const part = (i: number) => {
    const c = parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(0) + 0.7152 * part(1) + 0.0722 * part(2);
}

describe("the colours", () => {
  const all = (dark: boolean) => Array.from({ length: CLASSES }, (_, i) => luminance(heatColor(i, dark)));
  it("fall in lightness on a light ground and rise on a dark one", () => {
    const [light, dark] = [all(false), all(true)];
    for (let i = 1; i < CLASSES; i++) {
      expect(light[i]!).toBeLessThan(light[i - 1]! * 0.95);
      expect(dark[i]!).toBeGreaterThan(dark[i - 1]! * 1.05);
    }
  });
});

describe("the bounds", () => {
  it("are equal steps of values that lie close, and equal factors of those that do not", () => {
    const near = boundsOf(Array.from({ length: 101 }, (_, i) => 40 + i / 5))!;
    expect(near).toHaveLength(CLASSES - 1);
    expect(near[1]! - near[0]!).toBeCloseTo(near[5]! - near[4]!, 0);
    const wide = boundsOf(Array.from({ length: 101 }, (_, i) => 10 ** (i / 25)))!;
    expect(wide[5]! / wide[4]!).toBeGreaterThan(2);
  });
  it("ignore single values far out", () => {
    const bounds = boundsOf([...Array.from({ length: 1000 }, (_, i) => 50 + (i % 10)), 1e9])!;
    expect(bounds[bounds.length - 1]!).toBeLessThan(100);
    expect(classOf(1e9, bounds)).toBe(CLASSES - 1);
  });
  it("put a fleet that is all alike into the middle", () => {
    for (const value of [0, 7, 70]) expect([2, 3, 4]).toContain(classOf(value, boundsOf([value, value, value])!));
  });
  it("are none where nothing was measured", () => {
    expect(boundsOf([null, null])).toBeNull();
    expect(boundsOf([])).toBeNull();
  });
  it("rise", () => {
    for (const values of [[1, 2], [0, 0, 1], [1e-6, 1e9], [5, 5.0001]]) {
      const bounds = boundsOf(values)!;
      bounds.forEach((bound, i) => i > 0 && expect(bound).toBeGreaterThan(bounds[i - 1]!));
    }
  });
});

it("compares each device with its own group", () => {
  const values = [10, 20, 30, 100, 200, 300, null, 0];
  const told = againstGroup(values, [[0, 1, 2], [3, 4, 5, 6], [7]]);
  expect(told).toEqual([0.5, 1, 1.5, 0.5, 1, 1.5, null, null]);
  expect(classOf(told[2]!, RATIO_BOUNDS)).toBeGreaterThan(classOf(told[1]!, RATIO_BOUNDS));
  expect(median([null])).toBeNull();
});
