import { describe, expect, it } from "vitest";
import { clearlyWorse, readReport } from "./report";
import { around, fromZero, logarithmic, place, placeLog } from "./scale";

const whole = {
  dataset: { name: "mnist", variant: null },
  bytes: { onnx_before: 1_068_000, weights_before: 1_066_440, artifact: 24_300, ratio: 43.9 },
  accuracy: { before: 0.9836, after: 0.9841, metric: "accuracy", n: 10_000, ci95: [0.9815, 0.9864], ci95_before: [0.981, 0.9859] },
  latency_us: { before: { p50: 21, p95: 25 }, after: { p50: 20, p95: 24 }, threads: 1, machine: "x86-64" },
  stages: [{ name: "prune", seconds: 12.5, bytes_estimate: 99_000, nonzero: 0.08, bits: 32 }],
  memory_bytes: { before: 12_000_000, after: 12_100_000 },
  tensors: [
    { name: "", part: "header", dtype: null, shape: [], coding: "deflate", raw_bytes: 0, stored_bytes: 717 },
    { name: "fc1.weight", part: "tensor", dtype: "float32", shape: [300, 784], coding: "huffman-gap", raw_bytes: 940_800, stored_bytes: 18_000 },
  ],
  warnings: ["calibrated on 200 samples"],
  command: "edgepress compress ...",
};

describe("reading a report", () => {
  it("takes every part of a whole one", () => {
    const report = readReport(whole);
    expect(report.bytes.ratio).toBe(43.9);
    expect(report.accuracy.after).toEqual({ value: 0.9841, low: 0.9815, high: 0.9864 });
    expect(report.accuracy.before?.low).toBe(0.981);
    expect(report.latency.before).toEqual({ p50_us: 21, p95_us: 25 });
    expect(report.stages[0]).toMatchObject({ name: "prune", bytes: 99_000, accuracy: null });
    expect(report.tensors[0]).toMatchObject({ name: "header", bytes: 717, rawBytes: null });
    expect(report.tensors[1]).toMatchObject({ name: "fc1.weight", rawBytes: 940_800, coding: "huffman-gap" });
    expect(report.dataset).toBe("mnist");
  });
  it("takes costs, sensitivity and filters of the stages", () => {
    const report = readReport({
      costs: { before: { flops: 100, parameters: 10, nonzero: 10, peak_activation_bytes: 8 }, after: { parameters: 10, nonzero: 4 } },
      stages: [
        {
          name: "prune", flops: 50, sparsity: 0.6, latency_us: 3, speedup: 2,
          detail: {
            sensitivity: [
              { tensor: "a", bits: 8, loss: 1 },
              { tensor: "b", bits: 8, loss: 2 },
              { tensor: "b", bits: 2, loss: 9 },
              { tensor: 3, bits: 1, loss: 1 },
            ],
            filters: [{ group: "conv", alive: 3, of: 8 }, { group: "x" }],
          },
        },
        { name: "share", detail: 3 },
      ],
    }); // prettier-ignore
    expect(report.costs.before).toMatchObject({ flops: 100, peakBytes: 8 });
    expect(report.costs.after.sparsity).toBeCloseTo(0.6);
    const [prune, share] = report.stages;
    expect(prune).toMatchObject({ flops: 50, sparsity: 0.6, latencyUs: 3, speedup: 2 });
    expect(prune!.sensitivity).toHaveLength(1);
    expect(prune!.sensitivity[0]!.curves.map((each) => each.name)).toEqual(["b", "a"]);
    expect(prune!.sensitivity[0]!.curves[0]!.points).toEqual([{ x: 2, y: 9 }, { x: 8, y: 2 }]);
    expect(prune!.filters).toEqual([{ group: "conv", alive: 3, of: 8 }]);
    expect(share!.sensitivity).toEqual([]);
  });
  it.each([null, undefined, 3, "x", [], {}, { accuracy: null, tensors: [null, 3, {}], stages: [null] }, { bytes: [], latency_us: { before: 3 } }])(
    "what is not there is null, and nothing throws: %o",
    (value) => {
      const report = readReport(value);
      expect(report.accuracy.after).toBeNull();
      expect(report.latency.after).toBeNull();
      expect(report.tensors).toEqual([]);
    },
  );
});

it("worse is said only when the intervals do not touch", () => {
  expect(clearlyWorse({ value: 0.9, low: 0.89, high: 0.91 }, { value: 0.8, low: 0.79, high: 0.81 })).toBe(true);
  expect(clearlyWorse({ value: 0.9, low: 0.88, high: 0.92 }, { value: 0.89, low: 0.87, high: 0.91 })).toBe(false);
  expect(clearlyWorse({ value: 0.9, low: null, high: null }, { value: 0.8, low: null, high: null })).toBeNull();
});

describe("scales", () => {
  it("of bytes start at zero, so that lengths can be compared", () => {
    expect(fromZero([4, null, 8])).toEqual({ low: 0, high: 8 });
    expect(place(4, { low: 0, high: 8 })).toBe(50);
  });
  it("of accuracies are a window that is never narrower than asked for, and never leaves 0..1", () => {
    const near = around([0.981, 0.983], 0.02);
    expect(near.high - near.low).toBeCloseTo(0.02);
    expect(around([0.999, 1], 0.02).high).toBe(1);
    expect(around([], 0.02)).toEqual({ low: 0, high: 1 });
  });
  it("that are logarithmic give the same factor the same length", () => {
    const scale = logarithmic([1_000_000, 100_000, 10_000, 0]);
    expect(placeLog(1_000_000, scale)).toBe(100);
    expect(placeLog(1_000_000, scale) - placeLog(100_000, scale)).toBeCloseTo(placeLog(100_000, scale) - placeLog(10_000, scale));
    expect(placeLog(0, scale)).toBe(0);
    expect(logarithmic([])).toEqual({ low: 0, high: 1 });
  });
});
