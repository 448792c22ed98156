// An artifact taken apart and put together again, with its head deflated and all checksums right.
import { deflateRawSync } from "node:zlib";
import { Base } from "../src/artifact/base.ts";
import { crc32 } from "../src/artifact/crc32.ts";
import { readFront } from "../src/artifact/head.ts";
import { readHeader } from "../src/artifact/header.ts";
import { parseJson } from "../src/artifact/json.ts";
import { Inflater } from "../src/codec/inflate.ts";
import { Native } from "../src/codec/native.ts";
import { Reader } from "../src/codec/reader.ts";
import { startText, Text } from "../src/codec/text.ts";

export interface Parts {
  readonly header: Uint8Array; // JSON
  readonly skeleton: Uint8Array;
  readonly sections: readonly Uint8Array[];
  readonly isSealed: readonly boolean[]; // has a checksum at its end
}

/** The parts of an artifact of version 2. */
export function takeApart(codec: WebAssembly.Module, artifact: Uint8Array, base: Uint8Array | undefined): Parts {
  const front = readFront(artifact.subarray(0, 25));
  const skeleton = new Uint8Array(front.skeletonBytes!);
  const header = new Uint8Array(front.headerBytes);
  const read = (): ReturnType<typeof readHeader> => readHeader(parseJson(header), front.version);
  if (front.coding === 0) {
    const inflater = new Inflater(new Reader({ u8: artifact }, front.headAt, front.end));
    inflater.read(header, 0, header.length);
    inflater.read(skeleton, 0, skeleton.length);
  } else {
    const native = new Native(codec);
    const payload = native.take(front.end - front.headAt);
    native.u8.set(artifact.subarray(front.headAt, front.end), payload);
    const text = new Text(native, startText(native), payload, front.end - front.headAt);
    const out = native.take(header.length + skeleton.length);
    text.read(out, header.length);
    header.set(native.u8.subarray(out, out + header.length));
    const wanted = read().base;
    if (wanted) {
      const seen = new Base(base, wanted).skeleton();
      const at = native.take(seen.length);
      native.u8.set(seen, at);
      text.learn(at, seen.length);
    }
    text.read(out, skeleton.length);
    skeleton.set(native.u8.subarray(out, out + skeleton.length));
  }
  let at = front.end;
  const { tensors } = read();
  const sections = tensors.map(({ storedBytes }) => artifact.subarray(at, (at += storedBytes)));
  return { header, skeleton, sections, isSealed: tensors.map(({ coding }) => coding !== "same") };
}

export function putTogether({ header, skeleton, sections }: Parts): Uint8Array {
  const head = deflateRawSync(Buffer.concat([header, skeleton]), { level: 1 });
  const start = [0x89, 0x45, 0x50, 0x41, 2, 0];
  const rest = Buffer.concat([...[head.length, header.length, skeleton.length].map(varint), head]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(crc32(rest, 0, rest.length, crc32(Uint8Array.from(start))));
  return Buffer.concat([Uint8Array.from(start), crc, rest, ...sections]);
}

/** A section of this body. */
export function seal(body: Uint8Array): Uint8Array {
  const crc = crc32(body);
  return Buffer.concat([body, Uint8Array.of(crc & 0xff, (crc >> 8) & 0xff)]);
}

function varint(value: number): Uint8Array {
  const out: number[] = [];
  for (; value > 0x7f; value >>>= 7) out.push((value & 0x7f) | 0x80);
  return Uint8Array.from([...out, value]);
}
