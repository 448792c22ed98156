import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadCodec } from "../codec/native.ts";
import { decodeArtifact } from "./decode.ts";
import { ArtifactDecoder } from "./decoder.ts";
import { ArtifactError } from "./error.ts";

const fixture = (name: string): Uint8Array => readFileSync(new URL(`../../../../tests/fixtures/artifact/${name}.epa`, import.meta.url));
const codec = await loadCodec();
const OPTIONS = { maxBytes: 64 << 20 };
const WHOLE = fixture("version-2");

describe("ArtifactDecoder", () => {
  test("decodes each tensor as soon as its last byte is there", () => {
    const decoder = new ArtifactDecoder(codec, OPTIONS);
    const done: number[] = [];
    for (const byte of WHOLE) {
      decoder.push(Uint8Array.of(byte));
      done.push(decoder.tensorsDone);
    }
    const { tensors } = decoder.header!;
    let end = WHOLE.length;
    for (let number = tensors.length; number > 0; number--) {
      expect(done[end - 1]).toBe(number);
      end -= tensors[number - 1]!.storedBytes;
      expect(done[end - 1]).toBe(number - 1);
    }
    expect(createHash("sha256").update(decoder.finish()).digest("hex")).toBe(decoder.header!.onnxSha256);
  });

  test("knows the header before the tensors come", () => {
    const decoder = new ArtifactDecoder(codec, OPTIONS);
    decoder.push(WHOLE.subarray(0, 24));
    expect(decoder.header).toBeNull();
    decoder.push(WHOLE.subarray(24, WHOLE.length - 9000));
    expect(decoder.header?.tensors.length).toBeGreaterThan(5);
  });

  test("refuses a model that is larger than allowed before it makes room for it", () => {
    const decoder = new ArtifactDecoder(codec, { maxBytes: 1000 });
    expect(() => decoder.push(WHOLE)).toThrow("more than the 1000 allowed here");
    expect(decoder.peakBytes).toBeLessThan(5_000_000);
  });

  test("is done for after an error, and says the same again", () => {
    const decoder = new ArtifactDecoder(codec, OPTIONS);
    expect(() => decoder.push(WHOLE.map((byte, at) => (at === 40 ? byte ^ 1 : byte)))).toThrow("header: its checksum");
    expect(() => decoder.push(WHOLE)).toThrow("header: its checksum");
    expect(() => decoder.finish()).toThrow(ArtifactError);
  });

  test("gives the same model each time it is asked", () => {
    const decoder = new ArtifactDecoder(codec, OPTIONS);
    decoder.push(WHOLE);
    expect(Buffer.compare(decoder.finish(), decoder.finish())).toBe(0);
  });

  test("names a tensor that the file ends in", () => {
    const decoder = new ArtifactDecoder(codec, OPTIONS);
    decoder.push(WHOLE.subarray(0, -1));
    expect(() => decoder.finish()).toThrow(`tensor '${decoder.header!.tensors.at(-1)!.name}': the file ends in it`);
  });

  test("needs at most 8 MB more than the model", () => {
    const decoder = new ArtifactDecoder(codec, OPTIONS);
    decoder.push(WHOLE);
    expect(decoder.peakBytes).toBeLessThan(decoder.finish().length + 8_000_000);
  });
});

test("artifacts of version 1 and deltas are read", async () => {
  const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  expect(sha256(await decodeArtifact(fixture("version-1"), OPTIONS))).toMatch(/^[0-9a-f]{64}$/);
  const base = await decodeArtifact(WHOLE, OPTIONS);
  const changed = await decodeArtifact(fixture("version-2-delta"), { ...OPTIONS, base });
  expect(sha256(changed)).not.toBe(sha256(base));
  await expect(decodeArtifact(fixture("version-2-delta"), OPTIONS)).rejects.toThrow("none was given");
});
