import { CodecError } from "./error.ts";
import type { Native } from "./native.ts";

/** A tensor's symbols to be decoded: all addresses are in `native`'s memory. */
export interface SymbolJob {
  readonly native: Native;
  readonly payload: number;
  readonly payloadBytes: number;
  readonly alphabet: number;
  readonly shape: readonly number[];
  readonly count: number; // product of the shape
  readonly out: number;
  readonly symbolBytes: 1 | 2; // at `out`; 1 for alphabets up to 256
}

/** Fills job.out, or throws CodecError. */
export type SymbolDecoder = (job: SymbolJob) => void;

/** Bytes that hold a symbol. */
export function symbolBytes(alphabet: number): 1 | 2 {
  return alphabet <= 256 ? 1 : 2;
}

export function huffman(job: SymbolJob): void {
  const { native, payload, payloadBytes, alphabet, count, out } = job;
  const [work, workBytes] = native.work("ep_stream_work_bytes");
  const used = native.call(
    "ep_stream_decode", payload, BigInt(payloadBytes), BigInt(count), BigInt(alphabet), out, BigInt(job.symbolBytes), work, workBytes,
  );
  if (used !== payloadBytes) throw new CodecError(`${payloadBytes - used} bytes are left over after the payload`);
}

/** Those decoded by one call that knows the shape. */
function whole(name: string): SymbolDecoder {
  return ({ native, payload, payloadBytes, alphabet, shape, out, symbolBytes }) => {
    const [work, workBytes] = native.work(`ep_${name}_work_bytes`);
    const sides = native.int64(shape);
    native.call(
      `ep_${name}_decode`, payload, BigInt(payloadBytes), BigInt(alphabet), sides, BigInt(shape.length), out, BigInt(symbolBytes),
      work, workBytes,
    );
  };
}

export const gaps = whole("gaps");
export const rans = whole("rans");

const CONTEXT_WORK_BYTES = (4 << 20) + 64; // for any shape

/** `bases`: address of the symbols nearest to the base's elements, or 0. */
export function context(job: SymbolJob, bases = 0): void {
  const { native, payload, payloadBytes, alphabet, count, out } = job;
  const work = native.take(CONTEXT_WORK_BYTES);
  native.call(
    "ep_context_decode", payload, BigInt(payloadBytes), BigInt(alphabet), BigInt(count), out, BigInt(job.symbolBytes), bases, work,
    BigInt(CONTEXT_WORK_BYTES),
  );
}
