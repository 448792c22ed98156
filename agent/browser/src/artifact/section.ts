import { BYTE_DECODERS } from "../codec/bytes.ts";
import { CodecError } from "../codec/error.ts";
import type { Native } from "../codec/native.ts";
import { Reader } from "../codec/reader.ts";
import { SYMBOL_DECODERS } from "../codec/registry.ts";
import { context, symbolBytes, type SymbolJob } from "../codec/symbols.ts";
import type { Base } from "./base.ts";
import { baseCodebook, difference, nearest } from "./delta.ts";
import { alphabetOf, CONTEXT_DELTA, DIFFERENCE, type Entry, isFloat, ITEM_BYTES, SAME } from "./header.ts";
import { expand } from "./values.ts";

/** Of a tensor that a coder of bytes sees at once. */
export const BLOCK_BYTES = 1 << 20;
const SIDE_CODINGS = ["raw", "deflate", "planes", "floats"];
const SIDE_OF_BASE = 7;

/** A body that is whole in memory: addresses are in `native`'s. */
export interface Body {
  readonly native: Native;
  readonly entry: Entry;
  readonly at: number;
  readonly bytes: number;
  readonly out: number; // entry.sizeBytes, which the body may share
  readonly version: number;
  readonly base: Base | null; // of a delta
}

/** Where the symbols of a tensor at `out` are decoded: the end of its memory. */
export function symbolsAt(entry: Entry, out: number): number {
  return out + entry.sizeBytes - entry.count * symbolBytes(alphabetOf(entry));
}

/** Fills the tensor's memory from a checked body of symbols, of a whole coding of bytes, or `same`. Throws CodecError. */
export function decodeBody(body: Body): void {
  const { native, entry, at, bytes, out, base } = body;
  if (entry.coding === SAME) {
    native.u8.set(wanted(base).bytesOf(entry), out);
    return;
  }
  if (entry.coding === DIFFERENCE || BYTE_DECODERS.has(entry.coding)) {
    decodeBlock(body, 0, entry.sizeBytes);
    return;
  }
  const reader = new Reader(native, at, at + bytes);
  const side = readSide(body, reader);
  const alphabet = alphabetOf(entry);
  const job: SymbolJob = {
    native, payload: reader.at, payloadBytes: reader.left, alphabet, shape: entry.shape, count: entry.count, out: symbolsAt(entry, out),
    symbolBytes: symbolBytes(alphabet),
  };
  const mark = native.mark();
  if (entry.coding === CONTEXT_DELTA) context(job, nearest(native, entry, side, wanted(base).bytesOf(entry)));
  else SYMBOL_DECODERS.get(entry.coding)!(job);
  native.release(mark);
  expand(native, entry, job.out, job.symbolBytes, side, out);
}

/** Fills `size` bytes of the tensor's memory, from byte `first` of it, from a body that is one payload. Throws CodecError. */
export function decodeBlock({ native, entry, at, bytes, out, base }: Body, first: number, size: number): void {
  const itemsize = ITEM_BYTES[entry.dtype];
  const job = { native, payload: at, payloadBytes: bytes, out: out + first, outBytes: size, itemsize };
  if (entry.coding !== DIFFERENCE) {
    BYTE_DECODERS.get(entry.coding)!({ ...job, isFloat: isFloat(entry.dtype) });
    return;
  }
  BYTE_DECODERS.get("planes")!({ ...job, isFloat: false });
  difference(native, entry, wanted(base).bytesOf(entry).subarray(first, first + size), out + first);
}

/** Address of the codebook or the scales, 0 where there are none. */
function readSide({ native, entry, version, base }: Body, reader: Reader): number {
  const { values, dtype } = entry;
  if (values === 0) return 0;
  const itemsize = ITEM_BYTES[dtype];
  const count = typeof values === "number" ? values : values.perIndex ? entry.shape[values.axis]! : 1;
  let coding: string | undefined = "planes";
  let stored = reader.varint(version === 1 ? reader.left : 8 * reader.left + 7);
  if (version > 1) {
    const number = stored % 8;
    stored = (stored - number) / 8;
    if (number === SIDE_OF_BASE && base && stored === 0) return baseCodebook(native, entry, base.bytesOf(entry));
    coding = SIDE_CODINGS[number];
    if (!coding) throw new CodecError(`the codebook's coding number ${number} is not known here; update this edgepress`);
  }
  const payload = reader.take(stored);
  const out = native.take(count * itemsize);
  const mark = native.mark();
  BYTE_DECODERS.get(coding)!({ native, payload, payloadBytes: stored, out, outBytes: count * itemsize, itemsize, isFloat: isFloat(dtype) });
  native.release(mark);
  if (typeof values !== "number" && !new Float32Array(native.u8.buffer, out, count).every(Number.isFinite)) throw new CodecError("a scale is not finite");
  return out;
}

function wanted(base: Base | null): Base {
  if (!base) throw new CodecError("this is no delta");
  return base;
}
