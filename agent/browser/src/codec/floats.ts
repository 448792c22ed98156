import type { ByteJob } from "./bytes.ts";
import { CodecError } from "./error.ts";
import { widenHalf } from "./half.ts";
import type { Native } from "./native.ts";
import { Reader } from "./reader.ts";
import { huffman, rans, symbolBytes } from "./symbols.ts";

const RAW = 0;
const GRID = 4;
const BLOCKS = 5;
const FEW_MAX = 1 << 14; // elements of forms 1 to 4
const BFLOAT = 8; // kinds
const HALF = 16;
const BLOCK_ELEMENTS = 262_144;
const SPAN_MAX = 4095;

/** Floating point numbers whose exponents lie together: sets, lists, grids and blocks. */
export function floats(job: ByteJob): void {
  const { native, payload, payloadBytes, out, outBytes, itemsize, isFloat } = job;
  const reader = new Reader(native, payload, payload + payloadBytes);
  const first = reader.byte();
  if (first === RAW) {
    if (reader.left !== outBytes) throw new CodecError(`${reader.left} bytes are there, ${outBytes} wanted`);
    native.u8.copyWithin(out, reader.at, reader.end);
    return;
  }
  const form = first & 7;
  const kind = first & ~7;
  const possible =
    form >= 1 && form <= BLOCKS && isFloat && (kind === 0 || (kind === BFLOAT && itemsize === 2) || (kind === HALF && itemsize === 4)) &&
    (form !== GRID || (kind === 0 && itemsize === 4));
  if (!possible) throw new CodecError(`floats of form ${first} are not possible here`);
  const count = outBytes / itemsize;
  if (form !== BLOCKS && count > FEW_MAX) throw new CodecError(`${count} elements are of form ${form}, which has at most ${FEW_MAX}`);
  if (form === GRID) {
    grid(native, reader, out, count);
    return;
  }
  const width = kind === HALF ? 2 : itemsize;
  const exponentBits = kind === BFLOAT ? 8 : { 2: 5, 4: 8, 8: 11 }[width]!;
  const fractionBits = 8 * width - 1 - exponentBits;
  const to = kind === HALF ? native.take(2 * count) : out;
  if (form === BLOCKS) blocks(native, reader, to, count, width, exponentBits, fractionBits);
  else few(native, form, reader, to, count, width, exponentBits, fractionBits);
  if (kind !== HALF) return;
  const words = new DataView(native.u8.buffer);
  for (let i = 0; i < count; i++) words.setUint32(out + 4 * i, widenHalf(words.getUint16(to + 2 * i, true)), true);
}

function few(
  native: Native, form: number, reader: Reader, out: number, count: number, width: number, exponentBits: number, fractionBits: number,
): void {
  const [work, workBytes] = native.work("ep_floats_few_work_bytes");
  native.call(
    "ep_floats_few", BigInt(form), reader.at, BigInt(reader.left), BigInt(exponentBits), BigInt(fractionBits), out, BigInt(width),
    BigInt(count), work, workBytes,
  );
}

function grid(native: Native, reader: Reader, out: number, count: number): void {
  const step = new DataView(native.u8.buffer).getFloat32(reader.take(4), true);
  if (!(step > 0 && step < Infinity)) throw new CodecError("a grid's step is not a positive number");
  const multiples = native.take(4 * count);
  few(native, GRID, reader, multiples, count, 4, 8, 23);
  const words = new DataView(native.u8.buffer);
  for (let i = 0; i < count; i++) words.setFloat32(out + 4 * i, words.getInt32(multiples + 4 * i, true) * step, true);
}

function blocks(
  native: Native, reader: Reader, out: number, count: number, width: number, exponentBits: number, fractionBits: number,
): void {
  const zeros = reader.varint(fractionBits);
  const signs = reader.byte();
  if (signs > 2) throw new CodecError(`signs are of kind ${signs}, 0 to 2 are known`);
  for (let at = 0; at < count; at += BLOCK_ELEMENTS) {
    const mark = native.mark();
    const elements = Math.min(BLOCK_ELEMENTS, count - at);
    block(native, reader, out + at * width, elements, width, exponentBits, fractionBits - zeros, zeros, signs);
    native.release(mark);
  }
  reader.finish();
}

function block(
  native: Native, reader: Reader, out: number, count: number, width: number, exponentBits: number, fractionBits: number, zeros: number,
  signs: number,
): void {
  const kind = reader.byte();
  const top = kind & 3;
  if (kind > 7 || top > fractionBits) throw new CodecError(`a block is of kind ${kind}, which is not possible here`);
  const most = 2 ** (exponentBits + top);
  const low = reader.varint(most);
  const span = reader.varint(Math.min(SPAN_MAX, most - low));
  const alphabet = span + 1;
  const headBytes = symbolBytes(alphabet);
  const heads = native.take(count * headBytes);
  const payloadBytes = reader.varint(reader.left);
  const payload = reader.take(payloadBytes);
  const mark = native.mark();
  (kind & 4 ? rans : huffman)({ native, payload, payloadBytes, alphabet, shape: [count], count, out: heads, symbolBytes: headBytes });
  native.release(mark);
  let elements = 0;
  for (let i = 0; i < count; i++) {
    const at = heads + i * headBytes;
    if (native.u8[at] !== 0 || (headBytes === 2 && native.u8[at + 1] !== 0)) elements++;
  }
  const restBits = fractionBits - top;
  const bits = restBits + (signs === 0 ? 1 : 0);
  const tailsBytes = elements * (bits >> 3) + Math.ceil((elements * (bits & 7)) / 8);
  const tails = reader.take(tailsBytes);
  native.call(
    "ep_floats_join", heads, BigInt(headBytes), BigInt(count), BigInt(elements), BigInt(low), BigInt(restBits),
    BigInt(exponentBits + fractionBits), BigInt(zeros), BigInt(signs), tails, BigInt(tailsBytes), out, BigInt(width),
  );
}
