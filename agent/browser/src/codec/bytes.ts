import { CodecError } from "./error.ts";
import { floats } from "./floats.ts";
import { Inflater } from "./inflate.ts";
import type { Native } from "./native.ts";
import { planes } from "./planes.ts";
import { Reader } from "./reader.ts";
import { startText, TEXT_MAX_BYTES, Text } from "./text.ts";

/** A tensor's bytes, or a block's, to be decoded: all addresses are in `native`'s memory. */
export interface ByteJob {
  readonly native: Native;
  readonly payload: number;
  readonly payloadBytes: number;
  readonly out: number;
  readonly outBytes: number; // a multiple of itemsize
  readonly itemsize: number;
  readonly isFloat: boolean;
}

/** Fills job.out, or throws CodecError. */
export type ByteDecoder = (job: ByteJob) => void;

function raw({ native, payload, payloadBytes, out, outBytes }: ByteJob): void {
  if (payloadBytes !== outBytes) throw new CodecError(`${payloadBytes} bytes stored for ${outBytes}`);
  native.u8.copyWithin(out, payload, payload + payloadBytes);
}

function deflate({ native, payload, payloadBytes, out, outBytes }: ByteJob): void {
  const inflater = new Inflater(new Reader(native, payload, payload + payloadBytes));
  inflater.read(native.u8, out, outBytes);
  inflater.finish();
}

function text({ native, payload, payloadBytes, out, outBytes }: ByteJob): void {
  if (outBytes > TEXT_MAX_BYTES) throw new CodecError(`a text of ${outBytes} bytes, at most ${TEXT_MAX_BYTES} are possible`);
  const of = new Text(native, startText(native), payload, payloadBytes);
  of.read(out, outBytes);
  of.finish();
}

/** Codings of bytes by the names of the page "The artifact file". */
export const BYTE_DECODERS: ReadonlyMap<string, ByteDecoder> = new Map<string, ByteDecoder>([
  ["raw", raw],
  ["deflate", deflate],
  ["planes", planes],
  ["floats", floats],
  ["text", text],
]);
