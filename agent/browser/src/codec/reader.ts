import { CodecError } from "./error.ts";

const VARINT_MAX_BYTES = 5;

/** Reads fields front to back from `from` to `end`; every read is checked against what is left.
 *
 * The bytes are looked up in `memory` at each read: WebAssembly's memory gets a new view when it grows.
 */
export class Reader {
  readonly #memory: { readonly u8: Uint8Array };
  at: number;
  readonly end: number;

  constructor(memory: { readonly u8: Uint8Array }, from: number, end: number) {
    this.#memory = memory;
    this.at = from;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  /** The address of the next `count` bytes, which count as read. */
  take(count: number): number {
    if (count > this.left) throw new CodecError(`the payload ends early: ${count} bytes wanted, ${this.left} left`);
    const from = this.at;
    this.at += count;
    return from;
  }

  byte(): number {
    return this.#memory.u8[this.take(1)]!;
  }

  /** A LEB128 number of at most `limit`, written no longer than needed. */
  varint(limit: number): number {
    let value = 0;
    for (let place = 0; place < VARINT_MAX_BYTES; place++) {
      const part = this.byte();
      value += (part & 0x7f) * 2 ** (7 * place); // 35 bits: not for JavaScript's 32-bit operators
      if (part < 0x80) {
        if (part === 0 && place > 0) throw new CodecError("a number is written longer than needed");
        if (value > limit) throw new CodecError(`a number is ${value}, at most ${limit} is possible here`);
        return value;
      }
    }
    throw new CodecError("a number has more than 5 bytes");
  }

  finish(): void {
    if (this.left > 0) throw new CodecError(`${this.left} bytes are left over after the payload`);
  }
}

/** Bits from `reader`, high bit of a byte first. */
export class BitReader {
  readonly #reader: Reader;
  #byte = 0;
  #left = 0;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  bit(): number {
    if (this.#left === 0) {
      this.#byte = this.#reader.byte();
      this.#left = 8;
    }
    return (this.#byte >> --this.#left) & 1;
  }

  /** What is left of the last byte must be zero. */
  finish(): void {
    if ((this.#byte & ((1 << this.#left) - 1)) !== 0) throw new CodecError("bits are left over");
  }
}
