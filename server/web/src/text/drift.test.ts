import { expect, test } from "vitest";
import { asPicture, binWords, classPairs, maybePicture, privacyWords, psiTone } from "./drift";

test("the outer bins are open", () => {
  const feature = { edges: [0.2, 0.5] };
  expect([0, 1, 2].map((i) => binWords(feature, i))).toEqual(["up to 0.2", "0.2 to 0.5", "above 0.5"]);
  expect(binWords({ edges: [] }, 0)).toBe("any");
});

test("PSI is read as is common: 0.1 and 0.25 are the steps", () => {
  expect([null, 0.05, 0.1, 0.2499, 0.25].map(psiTone)).toEqual(["idle", "good", "warn", "warn", "bad"]);
});

test("of many classes those that changed are shown, and the shares still add up to one", () => {
  const expected = Array.from({ length: 100 }, () => 0.01);
  const actual = expected.map((_, i) => (i === 77 ? 0.505 : 0.005));
  const pairs = classPairs([], expected, actual, 10);
  expect(pairs.length).toBe(10);
  expect(pairs[0]).toEqual({ label: "77", expected: 0.01, actual: 0.505 });
  expect(pairs[9]!.label).toBe("91 others");
  expect(pairs.reduce((sum, pair) => sum + pair.actual!, 0)).toBeCloseTo(1);
});

test("few classes stay in their order", () => {
  expect(classPairs(["cat", "dog"], [0.5, 0.5], null).map((pair) => [pair.label, pair.actual])).toEqual([
    ["cat", null],
    ["dog", null],
  ]);
});

test("nothing leaves is said first", () => {
  expect(privacyWords({ per_hour: 0, low_confidence_percent: 50 })).toMatch(/^No input leaves/);
  expect(privacyWords({ per_hour: 4, low_confidence_percent: 60 })).toContain("less than 60 % sure");
});

const ramp = (n: number) => Array.from({ length: n }, (_, i) => i);

test.each([
  ["one plane first", [1, 1, 8, 8], 64],
  ["three planes first", [1, 3, 8, 6], 144],
  ["three planes last", [8, 6, 3], 144],
  ["no plane axis", [8, 8], 64],
] as const)("%s is a picture", (_, shape, n) => {
  expect(maybePicture({ shape: [...shape] })).toBe(true);
  const picture = asPicture(shape, ramp(n))!;
  expect(picture.rgba[3]).toBe(255);
  expect([picture.rgba[0], picture.rgba[picture.rgba.length - 2]]).toEqual([0, 255]); // from the least to the most
});

test("planes first and last show the same picture", () => {
  const first = ramp(48); // 3 x 4 x 4
  const last = Array.from({ length: 48 }, (_, i) => first[(i % 3) * 16 + Math.floor(i / 3)]!);
  expect(asPicture([3, 4, 4], first)!.rgba).toEqual(asPicture([4, 4, 3], last)!.rgba);
});

test.each([
  ["a row of a table", [1, 13], 13],
  ["tokens", [1, 128], 128],
  ["six planes", [6, 8, 8], 384],
  ["less values than its shape says", [1, 1, 8, 8], 63],
  ["larger than a screen", [1, 1, 2000, 4], 8000],
] as const)("%s is none", (_, shape, n) => expect(asPicture(shape, ramp(n))).toBeNull());

test("no number is black, and one value everywhere is no division by zero", () => {
  expect([...asPicture([4, 4], Array(16).fill(null))!.rgba.slice(0, 4)]).toEqual([0, 0, 0, 255]);
  expect(asPicture([4, 4], Array(16).fill(7))!.rgba[0]).toBe(0);
});
