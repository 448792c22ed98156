import { describe, expect, it } from "vitest";
import type { Layer, Roof } from "../api/prediction";
import { axisTicks, placeOn } from "./pareto";
import { layOut, roofLines, sharesByBound } from "./roofs";

const layer = (change: Partial<Layer>): Layer => ({
  name: "conv", op_type: "Conv", kind: "convolution nchw fp32", known: true, dtype: "fp32", latency_us: 100, share: 0.5,
  bound: "compute", operations: 1e6, bytes: 1e5, operations_per_byte: 10, operations_per_us: 1e4, ...change,
}); // prettier-ignore
const roof = (name: string, what: Roof["what"], per_us: number, basis: Roof["basis"] = "datasheet"): Roof => ({
  name, what, per_us, basis, kind: null,
}); // prettier-ignore
const PI = [roof("memory", "memory", 12_800), roof("L2 cache", "memory", 64_000), roof("fp32", "compute", 48_000), roof("int8", "compute", 96_000)];

describe("the roofline plot", () => {
  it("holds every layer that computes, and every roof that its axes reach", () => {
    const plot = layOut([layer({}), layer({ operations_per_byte: 0.3, operations_per_us: 2000 })], PI);
    for (const dot of plot.dots) {
      expect(placeOn(plot.x, dot.x)).toBeGreaterThan(0);
      expect(placeOn(plot.x, dot.x)).toBeLessThan(100);
      expect(placeOn(plot.y, dot.y)).toBeGreaterThan(0);
      expect(placeOn(plot.y, dot.y)).toBeLessThan(100);
    }
    expect(plot.roofs.map((line) => line.roof.name).sort()).toEqual(["L2 cache", "fp32", "int8", "memory"]);
  });
  it("leaves out what only moves numbers: zero has no logarithm", () => {
    const plot = layOut([layer({}), layer({ name: "reorder", operations_per_byte: 0, operations_per_us: 0 })], PI);
    expect(plot.dots.length).toBe(1);
    expect(plot.beside.map((each) => each.name)).toEqual(["reorder"]);
  });
  it("gives the slowest layer the largest dot, by area, and draws it first", () => {
    const plot = layOut([layer({ latency_us: 100 }), layer({ latency_us: 400 })], PI);
    expect(plot.dots.map((dot) => dot.layer.latency_us)).toEqual([400, 100]);
    expect(plot.dots[0]!.radius / plot.dots[1]!.radius).toBeCloseTo(2);
  });
  it("sizes the dots of two models by one measure", () => {
    const alone = layOut([layer({ latency_us: 100 })], PI).dots[0]!.radius;
    const beside = layOut([layer({ latency_us: 100 })], PI, [layer({ latency_us: 400 })]).dots[0]!.radius;
    expect(alone / beside).toBeCloseTo(2);
  });
  it("is there for a model without any layer that computes", () => {
    const plot = layOut([], []);
    expect(plot.dots).toEqual([]);
    expect(plot.x.high).toBeGreaterThan(plot.x.low);
  });
  it("puts what is a million times slower than the roof at the edge instead of squeezing the rest", () => {
    const plot = layOut([layer({}), layer({ operations_per_us: 1e-6 })], PI);
    expect(Math.log10(plot.y.high / plot.y.low)).toBeCloseTo(6);
  });
});

describe("roofs", () => {
  const [x, y] = [{ low: 0.01, high: 1000, log: true }, { low: 10, high: 1e6, log: true }];
  const lines = roofLines(PI, x, y);
  const named = (label: string) => lines.find((line) => line.roof.name === label)!;
  it("of memory climb by one operation a byte to the highest peak", () => {
    const { from, to } = named("memory");
    expect(from.y / from.x).toBeCloseTo(12_800);
    expect(to.y).toBeCloseTo(96_000);
    expect(to.x).toBeCloseTo(7.5);
  });
  it("of a peak begin where the fastest memory reaches it", () => {
    const { from, to } = named("fp32");
    expect([from.x, from.y, to.x, to.y]).toEqual([0.75, 48_000, 1000, 48_000]);
  });
  it("of a calibration meet each other and not the datasheet's", () => {
    const both = roofLines([...PI, roof("fp32", "compute", 30_000, "calibration"), roof("memory", "memory", 3000, "calibration")], x, y);
    const sustained = both.filter((line) => line.roof.basis === "calibration");
    expect(sustained.map((line) => line.roof.name)).toEqual(["fp32", "memory"]);
    expect(sustained.map((line) => [line.from, line.to]).flat().filter((end) => end.x === 10 && end.y === 30_000).length).toBe(2);
  });
  it("outside of the axes are cut off at the edge, or left out", () => {
    const narrow = roofLines(PI, { low: 20, high: 30, log: true }, y);
    expect(narrow.map((line) => line.roof.name)).toEqual(["fp32", "int8"]);
    expect(narrow[0]!.from.x).toBe(20);
  });
});

it("ticks of a wide logarithmic axis are a few powers of ten", () => {
  for (const decades of [6, 8]) {
    const ticks = axisTicks({ low: 0.02, high: 0.02 * 10 ** decades, log: true });
    expect(ticks.length).toBeGreaterThan(1);
    expect(ticks.length).toBeLessThan(8);
    for (const tick of ticks) expect(Math.abs(Math.log10(tick) % 1)).toBeLessThan(1e-9);
  }
});

it("time by bound sums to the whole, the overhead of calls included", () => {
  const shares = sharesByBound([layer({ latency_us: 60 }), layer({ latency_us: 30, bound: "memory" })], 10);
  expect(shares).toEqual({ compute: 0.6, memory: 0.3, overhead: 0.1 });
  expect(sharesByBound([], 0)).toEqual({ compute: 0, memory: 0, overhead: 0 });
});
