import { describe, expect, it } from "vitest";
import { between, everyOf, lastOf, localText, rangeProblem, RANGES, readRange, stepOf } from "./range";

const NOW = 1_790_000_000_000;
const HOUR = 3_600_000;
const read = (text: string) => readRange(new URLSearchParams(text), NOW);

describe("a range", () => {
  it("is read from the address", () => {
    expect(read("last=6h")).toEqual({ key: "6h", from: NOW - 6 * HOUR, to: NOW, live: true });
    expect(read(`from=${NOW - HOUR}&to=${NOW}`)).toEqual({ key: "custom", from: NOW - HOUR, to: NOW, live: false });
  });
  it.each(["", "last=3w", "from=5", "from=9&to=8", "from=x&to=y", `from=1&to=${NOW}`])("is the usual one for %j", (text) => {
    expect(read(text).key).toBe("15m");
  });
  it("comes back from what is written", () => {
    const written = new URLSearchParams(Object.entries(between(NOW - HOUR, NOW)).flatMap(([k, v]) => (v === null ? [] : [[k, v]])));
    expect(readRange(written, NOW + HOUR)).toMatchObject({ from: NOW - HOUR, to: NOW });
    expect(lastOf("7d")).toEqual({ last: "7d", from: null, to: null });
  });
});

describe("its step", () => {
  it("gives no more points than a chart can show, and none that is not kept", () => {
    for (const [key, , ms] of RANGES) {
      const step = stepOf(NOW - ms, NOW);
      expect(ms / step, key).toBeLessThanOrEqual(400);
      expect(ms / step, key).toBeGreaterThanOrEqual(100);
      if (ms > HOUR) expect(step % 60_000, key).toBe(0);
      if (ms > 48 * HOUR) expect(step % HOUR, key).toBe(0);
    }
  });
  it("says how often to look", () => {
    expect(everyOf(1000)).toBe(1000);
    expect(everyOf(86_400_000)).toBe(30_000);
  });
});

it("names what is wrong with a typed range", () => {
  expect(rangeProblem(NaN, NOW)).toMatch(/both/);
  expect(rangeProblem(NOW, NOW)).toMatch(/minute/);
  expect(rangeProblem(0, NOW)).toMatch(/two years/);
  expect(rangeProblem(NOW - HOUR, NOW)).toBeNull();
});

it("writes local time for an input", () => {
  expect(new Date(localText(NOW)).getTime()).toBe(Math.floor(NOW / 60_000) * 60_000);
});
