// node run.mjs MODULE TARGET SEEDS-FILE SEED RUNS: as codec_fuzz, in WebAssembly; one line of JSON.
import { readFileSync, writeFileSync } from "node:fs";

const [module, target, seedsFile, seed, runs] = process.argv.slice(2);
const { exports: codec } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(module)));
const bytes = (at, size) => new Uint8Array(codec.memory.buffer, at, size);
const text = (at) => {
  const from = bytes(at, 200);
  return new TextDecoder().decode(from.slice(0, from.indexOf(0)));
};

let index = 0;
while (index < codec.target_count() && text(codec.target_name(index)) !== target) index++;
if (index === codec.target_count()) throw new Error(`no target ${target}`);
const seeds = readFileSync(seedsFile);
const at = codec.__heap_base.value;
codec.memory.grow(Math.ceil(seeds.length / 65536) + 1);
bytes(at, seeds.length).set(seeds);
const start = process.hrtime.bigint();
let result;
try {
  result = codec.run(index, at, seeds.length, BigInt(seed), BigInt(runs));
} catch (error) {
  writeFileSync(`crash-${target}.bin`, bytes(codec.current(), codec.current_bytes()));
  console.error(`${error.message} ${text(codec.broken_promise())}: the input is in crash-${target}.bin`);
  process.exit(1);
}
if (result === 0) throw new Error(`${seedsFile} is damaged`);
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const [executions, accepted, refused_seeds, checksum] = new BigUint64Array(codec.memory.buffer, result, 4);
console.log(
  JSON.stringify({
    target,
    executions: Number(executions),
    accepted: Number(accepted),
    refused_seeds: Number(refused_seeds),
    seconds,
    checksum: checksum.toString(16).padStart(16, "0"),
  }),
);
