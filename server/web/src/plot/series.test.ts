import { describe, expect, it } from "vitest";
import type { Series } from "../api/types";
import { EMPTY, lastMeasured, lonely, mergeSeries, onGrid, sparkPath, stepFor, summarize, trimSeries, usualGap } from "./series";

const of = (t: number[], a: (number | null)[]): Series => ({ t, series: { a }, methods: {} });

describe("merging what is new into what is held", () => {
  it("replaces everything from the first new point on: the last step was still filling", () => {
    const merged = mergeSeries(of([0, 10, 20], [1, 2, 3]), of([20, 30], [9, 4]));
    expect(merged).toEqual(of([0, 10, 20, 30], [1, 2, 9, 4]));
  });
  it("into nothing is the new; nothing into it is the old", () => {
    expect(mergeSeries(EMPTY, of([5], [1]))).toEqual(of([5], [1]));
    expect(mergeSeries(of([5], [1]), EMPTY)).toEqual(of([5], [1]));
  });
  it("fills a metric that only one side has with nulls", () => {
    const merged = mergeSeries({ t: [0], series: { b: [7] } }, of([10], [1]));
    expect(merged.series).toEqual({ a: [null, 1], b: [7, null] });
  });
  it("is idempotent: the same answer twice changes nothing", () => {
    const once = mergeSeries(of([0, 10], [1, 2]), of([10, 20], [3, 4]));
    expect(mergeSeries(once, of([10, 20], [3, 4]))).toEqual(once);
  });
});

it("trimming drops what left the window on the left, and only that", () => {
  expect(trimSeries(of([0, 10, 20], [1, 2, 3]), 10)).toEqual(of([10, 20], [2, 3]));
  expect(trimSeries(of([10], [1]), 5)).toEqual(of([10], [1]));
});

it("the newest measured time passes over steps in which nothing came yet", () => {
  expect(lastMeasured(of([0, 10, 20], [1, 2, null]))).toBe(10);
  expect(lastMeasured(of([0], [null]))).toBeUndefined();
});

describe("lines on one time grid", () => {
  it("align two devices whose samples differ by less than a step", () => {
    const { x, y } = onGrid([{ t: [1000, 3000], v: [1, 2] }, { t: [1100, 2900], v: [5, 6] }], 2000);
    expect(x).toEqual([0, 2]);
    expect(y).toEqual([
      [1, 2],
      [5, 6],
    ]);
  });
  it("a late sample is joined over, a silent minute is a gap", () => {
    const late = onGrid([{ t: [0, 1000, 3000], v: [1, 2, 3] }, { t: [2000], v: [9] }], 1000);
    expect(late.y[0]).toEqual([1, 2, undefined, 3]);
    const silent = onGrid([{ t: [0, 60_000], v: [1, 2] }], 1000);
    expect(silent.x).toEqual([0, 1, 60]);
    expect(silent.y[0]).toEqual([1, null, 2]);
  });
  it("nulls of the server inside a short hole are joined, long ones stay gaps", () => {
    const t = [0, 1, 2, 3, 4, 5, 6, 7].map((s) => s * 1000);
    expect(onGrid([{ t, v: [1, null, 2, null, null, null, null, 3] }], 1000).y[0]).toEqual([
      1,
      undefined,
      2,
      null,
      null,
      null,
      null,
      3,
    ]);
  });
});

it.each([
  [5 * 60_000, 1000],
  [15 * 60_000, 5000],
  [3_600_000, 15_000],
  [24 * 3_600_000, 300_000],
  [7 * 24 * 3_600_000, 3_600_000],
])("a range of %i ms is drawn in steps of %i ms", (range, step) => {
  expect(stepFor(range)).toBe(step);
});

it("a chart's summary is of what was measured", () => {
  expect(summarize({ t: [0, 1, 2, 3], v: [4, null, 2, null] })).toEqual({ last: 2, low: 2, high: 4, mean: 3 });
  expect(summarize({ t: [0], v: [null] })).toBeNull();
});

describe("sparklines", () => {
  it("lift the pen at a gap", () => {
    expect(sparkPath([0, 10, null, 10, 0], 100, 10)).toBe("M0 10L25 0M75 0L100 10");
  });
  it("draw a steady value in the middle, and nothing of a single value", () => {
    expect(sparkPath([3, 3], 10, 10)).toBe("M0 5L10 5");
    expect(sparkPath([3], 10, 10)).toBeNull();
  });
});

describe("boards that report seldom", () => {
  const seldom = { t: [0, 60_000, 120_000, 180_000, 600_000, 660_000], v: [1, 2, 3, 4, 5, 6] };

  it("their usual gap is joined over, a longer one is a gap", () => {
    expect(usualGap(seldom, 10_000)).toBe(6);
    const { x, y } = onGrid([seldom], 10_000);
    expect(x.length).toBeGreaterThan(6);
    expect(y[0]!.filter((value) => value === null).length).toBeGreaterThan(0);
    expect(y[0]![x.indexOf(600)]).toBe(5);
    expect(y[0]!.slice(0, x.indexOf(180)).includes(null)).toBe(false);
  });

  it("a value alone between gaps is drawn as a point", () => {
    expect(lonely([1, null, 2, undefined, 3, null, 4])).toEqual([0, 6]);
    expect(lonely([null, 7, null])).toEqual([1]);
    expect(lonely([1, 2, 3])).toEqual([]);
  });
});
