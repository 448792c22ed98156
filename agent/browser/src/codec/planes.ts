import type { ByteJob } from "./bytes.ts";
import { CodecError } from "./error.ts";
import { widenHalf } from "./half.ts";
import { Reader } from "./reader.ts";

const PLAIN = 0;
const HALF = 2;

/** Byte planes: the tensor's bytes sorted by their place in the element. */
export function planes(job: ByteJob): void {
  const { native, out, outBytes, itemsize } = job;
  const reader = new Reader(native, job.payload, job.payload + job.payloadBytes);
  const form = reader.varint(HALF);
  if (form === HALF && !(job.isFloat && itemsize === 4)) throw new CodecError("float16 is stored for a tensor that is not float32");
  const width = form === HALF ? 2 : itemsize;
  const count = outBytes / itemsize;
  const plane: number[] = []; // addresses
  for (let place = 0; place < width; place++) {
    if (reader.varint(1) === 0) {
      plane.push(reader.take(count));
      continue;
    }
    const to = native.take(count);
    const mark = native.mark();
    const [work, workBytes] = native.work("ep_stream_work_bytes");
    reader.take(native.call("ep_stream_decode", reader.at, BigInt(reader.left), BigInt(count), 256n, to, 1n, work, workBytes));
    native.release(mark);
    plane.push(to);
  }
  reader.finish();
  const { u8 } = native;
  for (let i = 0; i < count; i++) {
    const at = out + i * itemsize;
    if (form === HALF) {
      const rotated = u8[plane[0]! + i]! | (u8[plane[1]! + i]! << 8);
      const bits = widenHalf((rotated >> 1) | ((rotated & 1) << 15));
      u8[at] = bits;
      u8[at + 1] = bits >> 8;
      u8[at + 2] = bits >> 16;
      u8[at + 3] = bits >> 24;
    } else if (form === PLAIN) {
      for (let place = 0; place < width; place++) u8[at + place] = u8[plane[place]! + i]!;
    } else {
      let high = (u8[plane[0]! + i]! & 1) << 7; // the lowest bit becomes the highest
      for (let place = width - 1; place >= 0; place--) {
        const byte = u8[plane[place]! + i]!;
        u8[at + place] = (byte >> 1) | high;
        high = (byte & 1) << 7;
      }
    }
  }
}
