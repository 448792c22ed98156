// node campaign.ts FOLDER RUNS SEED: decodes damaged artifacts, made from those in FOLDER (tests/compression/make_vectors.py), and
// prints a line of JSON. Every run must end within some seconds in an ArtifactError or in a model with the right SHA-256, and need no
// more memory than three models and 8 MB; anything else is written to crash.epa, and the status is 1.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundledCodec } from "../src/artifact/decode.ts";
import { ArtifactDecoder } from "../src/artifact/decoder.ts";
import { ArtifactError } from "../src/artifact/error.ts";
import { readHeader } from "../src/artifact/header.ts";
import { parseJson } from "../src/artifact/json.ts";
import { type Parts, putTogether, seal, takeApart } from "./artifact_parts.ts";

const RUN_MAX_S = 10;
const TENSOR_MAX_BYTES = 40_000; // of seeds: small ones make more runs
const BASE_MAX_BYTES = 200_000;
const MAX_BYTES = 1 << 20;
const MORE_BYTES = 8_000_000;

interface Seed {
  readonly name: string;
  readonly whole: Uint8Array;
  readonly base: Uint8Array | undefined;
  readonly parts: Parts;
  readonly front: Uint8Array;
}

const [folder, runsText, seedText] = process.argv.slice(2) as [string, string, string];
const runs = Number(runsText);
let state = Number(seedText) | 0;

/** mulberry32: a whole number below `limit`. */
function random(limit: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let z = Math.imul(state ^ (state >>> 15), state | 1);
  z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
  return ((z ^ (z >>> 14)) >>> 0) % limit;
}

/** `bytes` with a few of them changed, most near the front, where lengths and tables stand. */
function damaged(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(random(256));
  const copy = Uint8Array.from(bytes);
  for (let times = 1 + random(4); times > 0; times--) {
    const at = random(random(copy.length) + 1);
    copy[at] = [copy[at]! ^ (1 << random(8)), 0, 255, 128, random(256)][random(5)]!;
  }
  if (random(8) === 0) return copy.subarray(0, random(copy.length));
  return random(16) === 0 ? Buffer.concat([copy, copy.subarray(random(copy.length))]) : copy;
}

/** JSON with a number changed, or a byte. */
function damagedHeader(header: Uint8Array): Uint8Array {
  if (random(3) === 0) return damaged(header);
  const text = Buffer.from(header).toString();
  const from = text.indexOf('"tensors"');
  const numbers = [...text.slice(from).matchAll(/-?\d+/g)];
  const one = numbers[random(Math.max(numbers.length, 1))];
  if (!one) return damaged(header);
  const old = Number(one[0]);
  const value = [old + 1, old - 1, 0, -1, old * 2, 1, 4096, 255, 257, 2 ** 31 - 1, 2 ** 31, 2 ** 53, 0.5][random(13)]!;
  const at = from + one.index;
  return Buffer.from(text.slice(0, at) + String(value) + text.slice(at + one[0].length));
}

function mutate({ whole, parts, front }: Seed): Uint8Array {
  const kind = random(10);
  if (kind === 0) return damaged(whole);
  if (kind <= 2) return putTogether({ ...parts, header: damagedHeader(parts.header) });
  if (kind === 3 || parts.sections.length === 0) return putTogether({ ...parts, skeleton: damaged(parts.skeleton) });
  const number = random(parts.sections.length);
  const section = parts.sections[number]!;
  let changed = section;
  if (parts.isSealed[number]) {
    const body = damaged(section.subarray(0, -2));
    const fitting = new Uint8Array(section.length - 2); // the header says how long it is
    fitting.set(body.subarray(0, fitting.length));
    changed = seal(fitting);
  }
  return Buffer.concat([front, ...parts.sections.slice(0, number), changed, ...parts.sections.slice(number + 1)]);
}

/** An artifact of each small tensor alone: a run is short, and all of it is about what was damaged. */
function tensorsOf(name: string, { header, skeleton, sections, isSealed }: Parts, model: Uint8Array, base: Uint8Array | undefined): Seed[] {
  const json = JSON.parse(Buffer.from(header).toString()) as { tensors: [string, string, number[], ...unknown[]][] };
  let at = 0;
  return json.tensors.flatMap((entry, place) => {
    const skip = entry.at(-1) as number;
    const from = at + skip;
    at = from + readHeader(parseJson(header), 2).tensors[place]!.sizeBytes;
    if (at - from > TENSOR_MAX_BYTES) return [];
    const some = Buffer.concat([skeleton.subarray(0, skip), model.subarray(from, at)]);
    const sha256 = createHash("sha256").update(some).digest("hex");
    const text = JSON.stringify({ ...json, tensors: [entry], onnx_bytes: some.length, onnx_sha256: sha256 });
    const parts = { header: Buffer.from(text), skeleton: skeleton.subarray(0, skip), sections: [sections[place]!], isSealed: [isSealed[place]!] };
    return [{ name: `${name}, ${entry[0]}`, whole: putTogether(parts), base, parts, front: putTogether({ ...parts, sections: [] }) }];
  });
}

const codec = await bundledCodec();
const seeds: Seed[] = [];
for (const file of readdirSync(folder).sort()) {
  if (!file.endsWith(".epa")) continue;
  const name = file.slice(0, -4);
  const whole = readFileSync(join(folder, file));
  if (whole[4] !== 2) continue;
  const basePath = join(folder, `${name}.base`);
  const base = existsSync(basePath) ? readFileSync(basePath) : undefined;
  if (base && base.length > BASE_MAX_BYTES) continue;
  const parts = takeApart(codec, whole, base);
  seeds.push(...tensorsOf(name, parts, readFileSync(join(folder, `${name}.onnx`)), base));
}
if (seeds.length === 0) throw new Error(`${folder} has no artifacts of version 2 that are small`);

const counts = { runs: 0, accepted: 0, refused: 0, seconds: 0, slowest_s: 0, peak_bytes: 0 };
const sections = new Map<string, number>();
const began = performance.now();
for (; counts.runs < runs; counts.runs++) {
  const seed = seeds[random(seeds.length)]!;
  const artifact = mutate(seed);
  const start = performance.now();
  try {
    const decoder = new ArtifactDecoder(codec, { maxBytes: MAX_BYTES, base: seed.base });
    const chunk = random(4) === 0 ? 1 + random(5000) : artifact.length;
    try {
      for (let at = 0; at < artifact.length; at += chunk) decoder.push(artifact.subarray(at, at + chunk));
      decoder.finish();
      counts.accepted++;
    } finally {
      counts.peak_bytes = Math.max(counts.peak_bytes, decoder.peakBytes);
    }
  } catch (error) {
    if (!(error instanceof ArtifactError)) {
      writeFileSync("crash.epa", artifact);
      console.error(`${seed.name}, damaged, is in crash.epa: ${String(error instanceof Error ? error.stack : error)}`);
      process.exit(1);
    }
    counts.refused++;
    const section = error.section.startsWith("tensor") ? "tensor" : error.section;
    sections.set(section, (sections.get(section) ?? 0) + 1);
  }
  const seconds = (performance.now() - start) / 1000;
  counts.slowest_s = Math.max(counts.slowest_s, seconds);
  if (seconds > RUN_MAX_S || counts.peak_bytes > 3 * MAX_BYTES + MORE_BYTES) {
    writeFileSync("crash.epa", artifact);
    console.error(`${seed.name}, damaged, took ${seconds} s and ${counts.peak_bytes} bytes: it is in crash.epa`);
    process.exit(1);
  }
}
counts.seconds = (performance.now() - began) / 1000;
console.log(JSON.stringify({ ...counts, seeds: seeds.length, sections: Object.fromEntries(sections) }));
