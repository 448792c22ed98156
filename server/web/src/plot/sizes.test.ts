import { describe, expect, it } from "vitest";
import { readReport } from "./report";
import { bitsPerWeight, largest, steps } from "./sizes";

const head = { name: "", part: "header", dtype: null, shape: [], coding: "deflate", raw_bytes: 0, stored_bytes: 100, side_bytes: 0 };
const weight = {
  name: "fc.weight", part: "tensor", dtype: "float32", shape: [10, 100], coding: "context", form: "codebook", raw_bytes: 4000,
  nonzero: 250, nonzero_bytes: 1000, values: 16, entropy_bytes: 300, stored_bytes: 280, side_bytes: 60,
};
const bias = {
  name: "fc.bias", part: "tensor", dtype: "float32", shape: [10], coding: "floats", form: "bytes", raw_bytes: 40,
  nonzero: 10, nonzero_bytes: 40, values: null, entropy_bytes: null, stored_bytes: 36, side_bytes: 2,
};
const parts = (...tensors: unknown[]) => readReport({ tensors }).tensors;

describe("the steps from weights to the artifact", () => {
  it("lead from fp32 to exactly the artifact; what was not quantized keeps its bytes", () => {
    const all = steps(parts(head, weight, bias))!;
    expect(all.map((each) => each.after)).toEqual([4040, 1040, 340, 254, 316, 416]);
    expect(all.slice(1).map((each) => each.before)).toEqual(all.slice(0, -1).map((each) => each.after));
    expect(all[0]!.before).toBe(4040);
  });
  it.each([
    ["an old report", [head, { ...weight, nonzero_bytes: undefined, entropy_bytes: undefined, side_bytes: undefined, codebook_bytes: 60 }]],
    ["no tensors", [head]],
    ["nothing", []],
  ])("are not made up for %s", (_, tensors) => {
    expect(steps(parts(...tensors))).toBeNull();
  });
});

it("bits a weight count everything stored for a tensor, and the header has none", () => {
  expect(parts(head, weight).map(bitsPerWeight)).toEqual([null, 2.24]);
  expect(bitsPerWeight(parts({ ...weight, shape: [0, 3] })[0]!)).toBeNull();
});

describe("the largest parts", () => {
  const many = parts(...[5, 1, 9, 2, 7].map((n) => ({ ...weight, name: `t${n}`, stored_bytes: n, raw_bytes: n * 4, side_bytes: 1 })));
  it("and the rest as one still add up", () => {
    const shown = largest(many, 2);
    expect(shown.map((each) => each.bytes)).toEqual([9, 7, 8]);
    expect(shown[2]).toMatchObject({ name: "3 smaller parts", rawBytes: 32, sideBytes: 3 });
    expect(largest(many, 4)).toHaveLength(5);
  });
  it("keep their place in the graph when asked to, the rest behind them", () => {
    expect(largest(many, 3, "graph").map((each) => each.name)).toEqual(["t5", "t9", "t7", "2 smaller parts"]);
    expect(largest(many, Infinity, "graph")).toEqual(many);
  });
});
