import { describe, expect, it } from "vitest";
import type { ProfileDetail } from "../api/types";
import { beginning, compared, groups, mib, ROWS } from "./profile";

const rests = { source: "a datasheet, page 7", basis: "datasheet" as const };
const board = {
  id: "board",
  name: "Board",
  kind: "board",
  origin: "shipped",
  inherits: null,
  updated_at: null,
  notes: "",
  cpu: { model: "A72", machine: "aarch64", isa: "NEON", cores: 4, clock_mhz: 1500, threads: 4, ...rests },
  compute: { fp32: { gflops: 48, source: "clock: brief", basis: "derived", arithmetic: "4 x 1.5 x 8" }, fp16: null },
  memory: {
    ram_mib: 4096,
    kind: "LPDDR4",
    usable: { mib: 512, ...rests },
    bandwidth: { gb_per_s: 12.8, ...rests },
    cache: { l1d_bytes: 32_768, l2_bytes: 1_048_576, ...rests },
    ...rests,
  },
  storage: { kind: "microSD", read_mb_per_s: 45, ...rests },
  runtime: { engine: "onnxruntime", providers: ["CPUExecutionProvider"], reason: "the wheel" },
  int8: { activations: null, reason: "slower" },
  int4: { supported: true, reason: "kernels" },
  fp16: { supported: false, reason: "no arithmetic" },
  power: { idle_mw: 2300, typical_mw: 5400, tdp_mw: 15_000, sensors: [], ...rests },
  network: { kinds: ["wifi"], down_mbit_per_s: 100, ...rests },
} as ProfileDetail;
const figure = (field: string) => ROWS.find((row) => row.field === field)!.read(board);

describe("figures of a profile", () => {
  it("say their unit, and carry source, basis and arithmetic", () => {
    expect(figure("compute.fp32.gflops")).toEqual({
      text: "48 GFLOP/s",
      value: 48,
      basis: "derived",
      source: "4 x 1.5 x 8. clock: brief",
    });
    expect(figure("memory.cache.l2_bytes").text).toBe("1 MiB");
    expect(figure("storage.read_mb_per_s").text).toBe("45 MB/s");
    expect(figure("cpu.clock_mhz").text).toBe("1.5 GHz");
  });
  it("absent is a dash and never 0", () => {
    for (const field of ["compute.fp16.gflops", "gpu.model", "memory.cache.l3_bytes", "layout.preferred"]) {
      expect(figure(field)).toMatchObject({ text: "–", value: null, source: null });
    }
  });
  it("a choice shows its reason", () => {
    expect(figure("int8.activations")).toEqual({ text: "none: slower than fp32", value: null, basis: null, source: "slower" });
  });
  it("rows that no profile has are left out, with their group", () => {
    const names = groups([board]).map(([name]) => name);
    expect(names).toContain("Memory");
    expect(names).not.toContain("GPU");
  });
});

it("memory in the unit people say", () => expect([mib(512), mib(4096)]).toEqual(["512 MiB", "4 GiB"]));

it("a new profile begins with its id and what it stands on", () => {
  expect(beginning("pi-2gb", 'Pi "2 GB"', "raspberry-pi-4").split("\n").slice(0, 3)).toEqual([
    'id = "pi-2gb"',
    'name = "Pi \\"2 GB\\""',
    'inherits = "raspberry-pi-4"',
  ]);
});

it("compares what the address asks for, as far as it exists", () => {
  expect(compared(null, ["a", "raspberry-pi-4", "x86-pc"], 4)).toEqual(["raspberry-pi-4", "x86-pc"]);
  expect(compared("c,x,a,c", ["a", "b", "c"], 4)).toEqual(["c", "a"]);
  expect(compared("", ["a", "b"], 4)).toEqual([]);
  expect(compared("a,b,c", ["a", "b", "c"], 2)).toEqual(["a", "b"]);
});
