import { deflateRawSync } from "node:zlib";
import { expect, test } from "vitest";
import { CodecError } from "./error.ts";
import { Inflater } from "./inflate.ts";
import { Reader } from "./reader.ts";

const TEXT = Buffer.from("a text, a text, and another text; ".repeat(3000) + String.fromCharCode(...Array(256).keys()));

function inflate(stream: Uint8Array, pieces: readonly number[]): Buffer {
  const inflater = new Inflater(new Reader({ u8: stream }, 0, stream.length));
  const out = Buffer.alloc(pieces.reduce((a, b) => a + b, 0));
  let at = 0;
  for (const piece of pieces) {
    inflater.read(out, at, piece);
    at += piece;
  }
  inflater.finish();
  return out;
}

test.each([0, 1, 6, 9])("what zlib deflates at level %i comes back, in pieces of any size", (level) => {
  const stream = deflateRawSync(TEXT, { level });
  expect(inflate(stream, [TEXT.length]).equals(TEXT)).toBe(true);
  expect(inflate(stream, [1, 0, 40_000, TEXT.length - 40_001]).equals(TEXT)).toBe(true);
});

test("a stream that goes on, ends early or has bytes behind it is refused", () => {
  const stream = deflateRawSync(TEXT);
  expect(() => inflate(stream, [TEXT.length - 1])).toThrow(CodecError);
  expect(() => inflate(stream, [TEXT.length + 1])).toThrow("1 bytes early");
  expect(() => inflate(Buffer.concat([stream, Buffer.from([0])]), [TEXT.length])).toThrow("left over");
  expect(() => inflate(stream.subarray(0, -3), [TEXT.length])).toThrow("ends early");
});

test.each([
  ["a block of kind 3", [0x07]],
  ["a stored block whose length is wrong", [0x01, 5, 0, 0, 0]],
  ["a distance before the beginning", [0x63, 0x00, 0x22, 0x00]],
])("%s is refused", (_, bytes) => {
  expect(() => inflate(Uint8Array.from(bytes), [300])).toThrow(CodecError);
});
