import { expect, test } from "vitest";
import { type Annotation, flags, flagTone } from "./annotations";

const mark = (at: number, kind = "release"): Annotation => ({ at, kind, label: `${kind} at ${at}` });

test("what lies outside the range has no flag", () => {
  expect(flags([mark(5), mark(205)], 10, 200, 500)).toEqual([]);
});

test("near marks share a flag, in the order of time, and a far one has its own", () => {
  const found = flags([mark(104), mark(100), mark(180)], 0, 200, 400);
  expect(found.map((flag) => flag.items.map((each) => each.at))).toEqual([[100, 104], [180]]);
  expect(found[0]!.x).toBe(0.5);
  expect(found[0]!.roomPx).toBe(160);
  expect(found[1]!.roomPx).toBeCloseTo(40);
});

test("a chain of near marks does not grow without end: distance counts from the flag", () => {
  const chain = Array.from({ length: 10 }, (_, i) => mark(i * 10));
  expect(flags(chain, 0, 100, 100).length).toBeGreaterThan(2);
});

test("an empty range or no width draws nothing", () => {
  expect(flags([mark(1)], 5, 5, 100)).toEqual([]);
  expect(flags([mark(1)], 0, 5, 0)).toEqual([]);
});

test("a flag wears the gravest tone under it", () => {
  expect(flagTone([mark(1), mark(2, "alert")])).toBe("bad");
  expect(flagTone([mark(1, "enrolment")])).toBe("idle");
});
