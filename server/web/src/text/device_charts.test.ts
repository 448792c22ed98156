import { describe, expect, it } from "vitest";
import { GROUPS, METRICS, spansOf, told } from "./device_charts";

const series = (of: Record<string, (number | null)[]>) => ({ t: [1000, 2000, 3000, 4000, 9000], series: of });

describe("what a board tells", () => {
  it("is drawn, and what it does not tell is named once", () => {
    const said = told(series({ temp_c: [50, null, 51, 52, 53], rss_bytes: [null, null, null, null, 1] }));
    expect(said.groups.map(({ group, charts }) => [group.key, charts.map((chart) => chart.key)])).toEqual([
      ["memory", ["memory"]],
      ["processor", ["temperature"]],
    ]);
    expect(said.silent).toContain("its power");
    expect(said.silent).not.toContain("its temperature");
    expect(said.silent).not.toContain("drift"); // a model's word, not the board's
    expect(new Set(said.silent).size).toBe(said.silent.length);
  });
  it("may be nothing", () => {
    expect(told(undefined).any).toBe(false);
    expect(told(series({ temp_c: [null, null, null, null, null] })).any).toBe(false);
  });
});

it("asks for each metric once", () => {
  expect(new Set(METRICS).size).toBe(METRICS.length);
  expect(METRICS).toContain("throttled");
  const keys = GROUPS.flatMap((group) => group.charts.map((chart) => chart.key));
  expect(new Set(keys).size).toBe(keys.length);
});

describe("times in which a flag was up", () => {
  it("are joined where steps touch", () => {
    expect(spansOf(series({ throttled: [1, 0.6, 0.2, null, 1] }), "throttled", 1000)).toEqual([
      { from: 1000, to: 3000 },
      { from: 9000, to: 10_000 },
    ]);
  });
  it("are none where nothing was said", () => {
    expect(spansOf(undefined, "throttled", 1000)).toEqual([]);
    expect(spansOf(series({}), "throttled", 1000)).toEqual([]);
  });
});
