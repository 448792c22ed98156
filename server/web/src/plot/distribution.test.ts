import { describe, expect, it } from "vitest";
import { barsOf, type Distribution, placeOn } from "./distribution";

/** Buckets of 2^(1/8) from 2^10 on. */
function histogram(counts: readonly number[]): Distribution {
  const kept = counts.map((count, i) => ({ count, i })).filter(({ count }) => count > 0);
  const bound = (i: number) => 1024 * 2 ** (i / 8);
  return {
    count: counts.reduce((sum, n) => sum + n, 0),
    low: kept.map(({ i }) => bound(i)),
    high: kept.map(({ i }) => bound(i + 1)),
    counts: kept.map(({ count }) => count),
  };
}

describe("the bars of a histogram", () => {
  it("are its buckets where they fit, with what is empty between them", () => {
    const bars = barsOf(histogram([5, 0, 3, 2]), 40);
    expect(bars.map((bar) => bar.count)).toEqual([5, 0, 3, 2]);
    expect(bars[0]!.share).toBe(0.5);
  });
  it("lose no count where they are joined", () => {
    const counts = Array.from({ length: 200 }, (_, i) => (i * 7) % 13);
    for (const most of [5, 24, 40, 64]) {
      const bars = barsOf(histogram(counts), most);
      expect(bars.length).toBeLessThanOrEqual(most);
      expect(bars.reduce((sum, bar) => sum + bar.count, 0)).toBe(counts.reduce((sum, n) => sum + n, 0));
      bars.forEach((bar, i) => i > 0 && expect(bar.low).toBeCloseTo(bars[i - 1]!.high, 6));
    }
  });
  it("are one for a single bucket, none for nothing", () => {
    expect(barsOf(histogram([0, 9]), 40)).toHaveLength(1);
    expect(barsOf({ count: 0, low: [], high: [], counts: [] }, 40)).toEqual([]);
  });
  it("count what took no time with the fastest", () => {
    const of: Distribution = { count: 3, low: [0, 1024], high: [1e-9, 1024 * 2 ** 0.125], counts: [1, 2] };
    expect(barsOf(of, 40).map((bar) => bar.count)).toEqual([3]);
  });
});

it("places percentiles on the axis", () => {
  const bars = barsOf(histogram([1, 1, 1, 1, 1, 1, 1, 1]), 40);
  expect(placeOn(bars, 1024)).toBe(0);
  expect(placeOn(bars, 2048)).toBe(1);
  expect(placeOn(bars, 1024 * 2 ** 0.5)).toBeCloseTo(0.5);
  expect(placeOn(bars, 10)).toBeNull();
  expect(placeOn(bars, null)).toBeNull();
  expect(placeOn([], 5)).toBeNull();
});
