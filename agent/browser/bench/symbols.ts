// node symbols.ts JOBS: the jobs of tests/benchmarks/codec_wasm.py. For each line on standard input decodes all payloads once and
// prints the seconds; at the line "check" prints whether every symbol is as expected; ends with the input.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { loadCodec, Native } from "../src/codec/native.ts";
import { SYMBOL_DECODERS } from "../src/codec/registry.ts";
import { symbolBytes } from "../src/codec/symbols.ts";

interface Job {
  coder: string;
  alphabet: number;
  shape: number[];
  payload: [from: number, bytes: number];
  symbols: [from: number, bytes: number];
}

const file = readFileSync(process.argv[2]!);
const jsonBytes = file.readUInt32LE(0);
const jobs = JSON.parse(file.toString("utf8", 4, 4 + jsonBytes)) as Job[];
const data = file.subarray(4 + jsonBytes);

const native = new Native(await loadCodec());
const ready = jobs.map(({ coder, alphabet, shape, payload: [from, payloadBytes] }) => {
  const decode = SYMBOL_DECODERS.get(coder);
  if (!decode) throw new Error(`no coder ${coder}`);
  const count = shape.reduce((product, side) => product * side, 1);
  const width = symbolBytes(alphabet);
  const payload = native.take(payloadBytes);
  native.u8.set(data.subarray(from, from + payloadBytes), payload);
  const out = native.takeZeros(count * width);
  return { decode, job: { native, payload, payloadBytes, alphabet, shape, count, out, symbolBytes: width } };
});
const mark = native.mark();

function run(): void {
  for (const { decode, job } of ready) {
    decode(job);
    native.release(mark);
  }
}

function same(): boolean {
  return jobs.every(({ symbols: [from, bytes] }, place) => {
    const { out } = ready[place]!.job;
    return data.compare(native.u8, out, out + bytes, from, from + bytes) === 0;
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "check") {
    console.log(same() ? "same" : "different");
    continue;
  }
  const start = process.hrtime.bigint();
  run();
  console.log(Number(process.hrtime.bigint() - start) / 1e9);
}
