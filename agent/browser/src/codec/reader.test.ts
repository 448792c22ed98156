import { expect, test } from "vitest";
import { BitReader, Reader } from "./reader.ts";

const reader = (...bytes: number[]): Reader => new Reader({ u8: Uint8Array.from(bytes) }, 0, bytes.length);

test("a number of 35 bits is read exactly", () => {
  expect(reader(0xff, 0xff, 0xff, 0xff, 0x7f).varint(2 ** 35)).toBe(2 ** 35 - 1);
});

test.each([
  ["longer than needed", [0x80, 0x00], 10],
  ["above its limit", [0x0b], 10],
  ["of six bytes", [0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 2 ** 40],
  ["that ends early", [0x80], 10],
])("a number %s is refused", (_, bytes, limit) => {
  expect(() => reader(...bytes).varint(limit)).toThrow();
});

test("bits come from the high end, and what is left must be zero", () => {
  const bits = new BitReader(reader(0b1010_0000));
  expect([bits.bit(), bits.bit(), bits.bit()]).toEqual([1, 0, 1]);
  bits.finish();
  const odd = new BitReader(reader(0b1010_0001));
  odd.bit();
  expect(() => odd.finish()).toThrow("left over");
});
