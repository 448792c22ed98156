import { describe, expect, it } from "vitest";
import type { Layer, Measured } from "../api/prediction";
import { about, against, basisWords, changeWords, layerWords, measuredWords, offBy } from "./prediction";

const layer: Layer = {
  name: "conv1", op_type: "Conv", kind: "pointwise nchw fp32", known: true, dtype: "fp32", latency_us: 134.4, share: 0.07,
  bound: "compute", operations: 6.4e6, bytes: 1e6, operations_per_byte: 6.4, operations_per_us: 47_800,
}; // prettier-ignore

describe("a predicted figure", () => {
  it("never looks measured", () => {
    expect(about("18.8 ms")).toBe("≈ 18.8 ms");
    expect(about("–")).toBe("–");
  });
  it("says its basis with a real plus-minus", () => {
    expect(basisWords("calibrated on 3 devices (+-8 %)")).toBe("calibrated on 3 devices (±8 %)");
  });
  it("is held against what devices measured", () => {
    expect(against("18.8 ms", 1.08)).toBe("predicted ≈ 18.8 ms, 8 % above");
    expect(against("18.8 ms", null)).toBe("predicted ≈ 18.8 ms");
  });
  it.each([[1.001, "the same"], [0.92, "8 % below"], [2.5, "2.5 times as much"], [0.25, "4 times too little"]])("off by %s is %s", (ratio, words) => {
    expect(offBy(ratio)).toBe(words);
  });
});

it.each([[200, 100, "2.0× faster"], [100, 95, "5 % faster"], [100, 100.1, "the same"], [100, 250, "2.5× slower"]])("from %s to %s is %s", (from, to, words) => {
  expect(changeWords(from, to, "faster", "slower")).toBe(words);
});

it("a layer is told with its time, its bound and its kind", () => {
  expect(layerWords(layer)).toBe("conv1: ≈ 134 µs, 7.0 % of the time, compute-bound; 6.4 operations a byte, 47.8 Gop/s; pointwise nchw fp32.");
  const moves = { ...layer, operations: 0, operations_per_byte: 0, operations_per_us: 0, bound: "memory" as const, known: false };
  expect(layerWords(moves)).toContain("only moves 1 MB; pointwise nchw fp32, a kind that no device has timed.");
});

it("a measurement says how many devices, when, and whether they were throttled", () => {
  const measured = { words: "measured on 3 devices", until_at: 0, throttled_devices: 1 } as Measured;
  expect(measuredWords(measured, 120_000)).toBe("measured on 3 devices, 2 min ago, 1 device throttled");
});
