import { CodecError } from "../codec/error.ts";
import { Inflater } from "../codec/inflate.ts";
import type { Native } from "../codec/native.ts";
import { Reader } from "../codec/reader.ts";
import { startText, Text, TEXT_MAX_BYTES } from "../codec/text.ts";
import { crc32 } from "./crc32.ts";
import { ArtifactError } from "./error.ts";
import { type Header, ONNX_MAX_BYTES, readHeader, skeletonBytes } from "./header.ts";
import { parseJson } from "./json.ts";

/** Enough of a file to know where its head ends; every artifact is longer, or as long. */
export const START_BYTES = 25;
const MAGIC = [0x89, 0x45, 0x50, 0x41];
const HEADER_MAX_BYTES = 16 << 20;
const CRC_AT = 6;
const LENGTHS_AT = 10;
const PREFIX_1_BYTES = 20;
const CRC_1_AT = 16;
const DEFLATED = 0;
const TEXT = 1;

/** The skeleton, read once from front to back. Its functions throw CodecError. */
export interface Skeleton {
  /** `count` bytes to `out` from `at`. */
  read(out: Uint8Array, at: number, count: number): void;
  finish(): void;
}

/** What is known of a file from its first bytes. */
export interface Front {
  readonly version: number;
  readonly coding: number; // of the head
  readonly headAt: number;
  readonly end: number; // of the head
  readonly headerBytes: number;
  readonly skeletonBytes: number | null; // version 1 does not say
}

/** Where the head lies, from the first START_BYTES (fewer: the file has no more). Raises ArtifactError. */
export function readFront(start: Uint8Array): Front {
  if (start.length < MAGIC.length || MAGIC.some((byte, place) => start[place] !== byte)) {
    throw new ArtifactError("file", "this is no edgepress artifact (its first bytes are different)");
  }
  if (start.length < START_BYTES) throw new ArtifactError("file", `it ends in the header, at byte ${start.length}; fetch it again`);
  const version = start[4]!;
  const words = new DataView(start.buffer, start.byteOffset);
  let front: Front;
  if (version === 1) {
    const end = PREFIX_1_BYTES + words.getUint32(8, true);
    front = { version, coding: DEFLATED, headAt: PREFIX_1_BYTES, end, headerBytes: words.getUint32(12, true), skeletonBytes: null };
    if (start[5] !== 0 || start[6] !== 0 || start[7] !== 0) throw damaged();
  } else if (version === 2) {
    const reader = new Reader({ u8: start }, LENGTHS_AT, START_BYTES);
    try {
      const headBytes = reader.varint(ONNX_MAX_BYTES);
      const headerBytes = reader.varint(HEADER_MAX_BYTES);
      const skeleton = reader.varint(ONNX_MAX_BYTES);
      front = { version, coding: start[5]!, headAt: reader.at, end: reader.at + headBytes, headerBytes, skeletonBytes: skeleton };
    } catch (error) {
      if (error instanceof CodecError) throw damaged();
      throw error;
    }
    if (front.coding > TEXT) throw new ArtifactError("file", `its head's coding ${front.coding} is not known here; update this edgepress`);
  } else throw new ArtifactError("file", `format version ${version} is not known to this edgepress (it reads 1 and 2); update it`);
  if (front.headerBytes < 2 || front.headerBytes > HEADER_MAX_BYTES || front.end < START_BYTES) throw damaged();
  return front;
}

/** Header and skeleton. `front` holds a file's bytes up to front.end; `baseSkeleton` gives what a delta's reader has seen.
 *
 * Raises ArtifactError.
 */
export function openHead(native: Native, of: Front, bytes: Uint8Array, baseSkeleton: (header: Header) => Uint8Array | null): [Header, Skeleton] {
  const words = new DataView(bytes.buffer, bytes.byteOffset);
  const first = of.version === 1 ? CRC_1_AT : CRC_AT;
  const expected = words.getUint32(first, true);
  if (crc32(bytes, first + 4, of.end, crc32(bytes, 0, first)) !== expected) {
    throw new ArtifactError("header", "its checksum does not match; fetch the artifact again");
  }
  if (of.coding === TEXT) return openText(native, of, bytes, baseSkeleton);
  const inflater = new Inflater(new Reader({ u8: bytes }, of.headAt, of.end));
  const text = new Uint8Array(of.headerBytes);
  readAs("header", () => inflater.read(text, 0, text.length));
  const header = checked(text, of);
  baseSkeleton(header);
  return [header, inflater];
}

function openText(native: Native, of: Front, bytes: Uint8Array, baseSkeleton: (header: Header) => Uint8Array | null): [Header, Skeleton] {
  const skeleton = of.skeletonBytes ?? 0;
  if (of.headerBytes + skeleton > TEXT_MAX_BYTES) throw new ArtifactError("header", `a text of more than ${TEXT_MAX_BYTES} bytes`);
  const mark = native.mark();
  const payloadBytes = of.end - of.headAt;
  const payload = native.take(payloadBytes);
  native.u8.set(bytes.subarray(of.headAt, of.end), payload);
  const text = new Text(native, startText(native), payload, payloadBytes);
  const out = native.take(of.headerBytes + skeleton);
  text.read(out, of.headerBytes);
  const header = checked(native.u8.slice(out, out + of.headerBytes), of);
  const seen = baseSkeleton(header);
  if (seen) {
    const at = native.take(seen.length);
    native.u8.set(seen, at);
    text.learn(at, seen.length);
  }
  text.read(out + of.headerBytes, skeleton);
  readAs("skeleton", () => text.finish());
  const whole = native.u8.slice(out + of.headerBytes, out + of.headerBytes + skeleton);
  native.release(mark);
  return [header, new Whole(whole)];
}

function checked(text: Uint8Array, of: Front): Header {
  const header = readHeader(parseJson(text), of.version);
  const tensors = header.onnxBytes - skeletonBytes(header);
  if (of.skeletonBytes !== null && tensors + of.skeletonBytes !== header.onnxBytes) {
    throw new ArtifactError("header", `its parts make ${tensors + of.skeletonBytes} bytes, not ${header.onnxBytes}`);
  }
  return header;
}

/** A skeleton that is there already. */
class Whole implements Skeleton {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(out: Uint8Array, at: number, count: number): void {
    if (count > this.#bytes.length - this.#at) throw new CodecError("it ends early");
    out.set(this.#bytes.subarray(this.#at, this.#at + count), at);
    this.#at += count;
  }

  finish(): void {
    if (this.#at < this.#bytes.length) throw new CodecError("bytes of it are left over");
  }
}

/** Runs `read`; a CodecError is one of `section`. */
export function readAs(section: string, read: () => void): void {
  try {
    read();
  } catch (error) {
    if (error instanceof CodecError) throw new ArtifactError(section, error.message);
    throw error;
  }
}

function damaged(): ArtifactError {
  return new ArtifactError("file", "its first bytes are damaged; fetch it again");
}
