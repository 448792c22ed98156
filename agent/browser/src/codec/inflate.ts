import { CodecError } from "./error.ts";
import type { Reader } from "./reader.ts";

// RFC 1951, sections 3.2.5 and 3.2.7.
const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385,
  24577,
];
const DISTANCE_EXTRA = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const LENGTHS_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const MAX_BITS = 15;
const WINDOW_BYTES = 1 << 15;
const END_OF_BLOCK = 256;

type State = "header" | "stored" | "codes" | "done";

/** A prefix code: how many codes have each length, and the symbols by (length, symbol). */
class Code {
  readonly #counts = new Uint16Array(MAX_BITS + 1);
  readonly #symbols: Uint16Array;

  /** Raises CodecError for lengths that are no code; with `one`, a single code of one bit is one. */
  constructor(lengths: Uint8Array, one: boolean) {
    for (const length of lengths) this.#counts[length]!++;
    const used = lengths.length - this.#counts[0]!;
    this.#counts[0] = 0;
    let left = 1;
    for (let length = 1; length <= MAX_BITS; length++) {
      left = left * 2 - this.#counts[length]!;
      if (left < 0) throw new CodecError("damaged DEFLATE stream (too many codes)");
    }
    if (left > 0 && used > 0 && !(one && used === 1 && this.#counts[1] === 1)) throw new CodecError("damaged DEFLATE stream (too few codes)");
    const starts = new Uint16Array(MAX_BITS + 2);
    for (let length = 1; length <= MAX_BITS; length++) starts[length + 1] = starts[length]! + this.#counts[length]!;
    this.#symbols = new Uint16Array(used);
    lengths.forEach((length, symbol) => {
      if (length > 0) this.#symbols[starts[length]!++] = symbol;
    });
  }

  read(bits: Inflater): number {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= MAX_BITS; length++) {
      code |= bits.bits(1);
      const count = this.#counts[length]!;
      if (code - first < count) return this.#symbols[index + code - first]!;
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw new CodecError("damaged DEFLATE stream (a code that is none)");
  }
}

/** Reads one raw DEFLATE stream (RFC 1951) in pieces of known length; work memory is its window of 32 KiB. */
export class Inflater {
  readonly #reader: Reader;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  #written = 0; // in all
  #held = 0;
  #heldBits = 0;
  #state: State = "header";
  #last = false;
  #stored = 0; // bytes left of a stored block
  #copy = 0; // bytes left of a match, `#distance` back
  #distance = 0;
  #literals: Code | null = null;
  #distances: Code | null = null;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /** The next `count` bytes to `out` from `at`. Raises CodecError when the stream is damaged or ends before. */
  read(out: Uint8Array, at: number, count: number): void {
    const end = at + count;
    while (at < end) {
      if (this.#copy > 0) {
        this.#copy--;
        out[at++] = this.#put(this.#window[(this.#written - this.#distance) & (WINDOW_BYTES - 1)]!);
      } else if (this.#state === "stored") {
        if (this.#stored === 0) this.#endBlock();
        else {
          this.#stored--;
          out[at++] = this.#put(this.#reader.byte());
        }
      } else if (this.#state === "codes") {
        const symbol = this.#literals!.read(this);
        if (symbol < END_OF_BLOCK) out[at++] = this.#put(symbol);
        else if (symbol === END_OF_BLOCK) this.#endBlock();
        else this.#match(symbol);
      } else if (this.#state === "header") this.#block();
      else throw new CodecError(`the DEFLATE stream ends ${end - at} bytes early`);
    }
  }

  /** The stream and its bytes end here. */
  finish(): void {
    while (this.#state !== "done") {
      if (this.#copy > 0 || this.#stored > 0) throw new CodecError("bytes are left over after the DEFLATE stream");
      if (this.#state === "header") this.#block();
      else if (this.#state === "stored" || this.#literals!.read(this) === END_OF_BLOCK) this.#endBlock();
      else throw new CodecError("bytes are left over after the DEFLATE stream");
    }
    if (this.#reader.left > 0) throw new CodecError("bytes are left over after the DEFLATE stream");
  }

  /** The next `count` bits, at most 13, the first the lowest. */
  bits(count: number): number {
    while (this.#heldBits < count) {
      this.#held |= this.#reader.byte() << this.#heldBits;
      this.#heldBits += 8;
    }
    const value = this.#held & ((1 << count) - 1);
    this.#held >>>= count;
    this.#heldBits -= count;
    return value;
  }

  #put(byte: number): number {
    this.#window[this.#written++ & (WINDOW_BYTES - 1)] = byte;
    return byte;
  }

  #endBlock(): void {
    this.#state = this.#last ? "done" : "header";
  }

  #block(): void {
    this.#last = this.bits(1) === 1;
    const kind = this.bits(2);
    if (kind === 0) {
      this.#held = this.#heldBits = 0; // fewer than 8 bits, which no block uses
      const size = this.#reader.byte() | (this.#reader.byte() << 8);
      const check = this.#reader.byte() | (this.#reader.byte() << 8);
      if ((size ^ check) !== 0xffff) throw new CodecError("damaged DEFLATE stream (a stored block's length)");
      this.#stored = size;
      this.#state = "stored";
      return;
    }
    if (kind === 3) throw new CodecError("damaged DEFLATE stream (a block of unknown kind)");
    if (kind === 1) this.#fixedCodes();
    else this.#ownCodes();
    this.#state = "codes";
  }

  #fixedCodes(): void {
    this.#literals = new Code(Uint8Array.from({ length: 288 }, (_, s) => (s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8)), false);
    this.#distances = new Code(new Uint8Array(32).fill(5), false);
  }

  #ownCodes(): void {
    const literals = this.bits(5) + 257;
    const distances = this.bits(5) + 1;
    const orders = this.bits(4) + 4;
    if (literals > 286 || distances > 30) throw new CodecError("damaged DEFLATE stream (too many symbols)");
    const small = new Uint8Array(19);
    for (let i = 0; i < orders; i++) small[LENGTHS_ORDER[i]!] = this.bits(3);
    const code = new Code(small, false);
    const lengths = new Uint8Array(literals + distances);
    for (let at = 0; at < lengths.length; ) {
      const symbol = code.read(this);
      if (symbol < 16) {
        lengths[at++] = symbol;
        continue;
      }
      if (symbol === 16 && at === 0) throw new CodecError("damaged DEFLATE stream (nothing to repeat)");
      const value = symbol === 16 ? lengths[at - 1]! : 0;
      const times = symbol === 16 ? 3 + this.bits(2) : symbol === 17 ? 3 + this.bits(3) : 11 + this.bits(7);
      if (at + times > lengths.length) throw new CodecError("damaged DEFLATE stream (too many lengths)");
      lengths.fill(value, at, at + times);
      at += times;
    }
    if (lengths[END_OF_BLOCK] === 0) throw new CodecError("damaged DEFLATE stream (no end of the block)");
    this.#literals = new Code(lengths.subarray(0, literals), true);
    this.#distances = new Code(lengths.subarray(literals), true);
  }

  #match(symbol: number): void {
    const length = symbol - 257;
    if (length >= LENGTH_BASE.length) throw new CodecError("damaged DEFLATE stream (a length that is none)");
    this.#copy = LENGTH_BASE[length]! + this.bits(LENGTH_EXTRA[length]!);
    const number = this.#distances!.read(this);
    if (number >= DISTANCE_BASE.length) throw new CodecError("damaged DEFLATE stream (a distance that is none)");
    this.#distance = DISTANCE_BASE[number]! + this.bits(DISTANCE_EXTRA[number]!);
    if (this.#distance > Math.min(this.#written, WINDOW_BYTES)) throw new CodecError("damaged DEFLATE stream (a distance too far)");
  }
}
