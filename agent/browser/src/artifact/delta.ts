import { CodecError } from "../codec/error.ts";
import { widenHalf } from "../codec/half.ts";
import type { Native } from "../codec/native.ts";
import { symbolBytes } from "../codec/symbols.ts";
import { alphabetOf, type Dtype, type Entry, isFloat, ITEM_BYTES } from "./header.ts";

/** Turns the differences at `out` into elements: what they change is `before`. */
export function difference(native: Native, entry: Entry, before: Uint8Array, out: number): void {
  const itemsize = ITEM_BYTES[entry.dtype];
  const floats = isFloat(entry.dtype);
  const ours = new DataView(native.u8.buffer, out, before.length);
  const theirs = new DataView(before.buffer, before.byteOffset, before.length);
  for (let at = 0; at < before.length; at += itemsize) {
    if (itemsize === 8) ours.setBigUint64(at, changed64(ours.getBigUint64(at, true), theirs.getBigUint64(at, true), floats), true);
    else if (itemsize === 4) ours.setUint32(at, changed(ours.getUint32(at, true), theirs.getUint32(at, true), 32, floats), true);
    else if (itemsize === 2) ours.setUint16(at, changed(ours.getUint16(at, true), theirs.getUint16(at, true), 16, floats), true);
    else ours.setUint8(at, changed(ours.getUint8(at), theirs.getUint8(at), 8, floats));
  }
}

function changed(stored: number, before: number, bits: number, floats: boolean): number {
  const step = (stored >>> 1) ^ -(stored & 1);
  if (!floats) return before + step; // the store keeps the low bits
  const sign = 1 << (bits - 1);
  const order = (before & sign ? ~before : before | sign) + step;
  return order & sign ? order ^ sign : ~order;
}

function changed64(stored: bigint, before: bigint, floats: boolean): bigint {
  const step = (stored >> 1n) ^ -(stored & 1n);
  if (!floats) return BigInt.asUintN(64, before + step);
  const sign = 1n << 63n;
  const order = BigInt.asUintN(64, (before & sign ? ~before : before | sign) + step);
  return BigInt.asUintN(64, order & sign ? order ^ sign : ~order);
}

/** Address of the symbols nearest to the elements `before`; `side` is that of the codebook or the scales. */
export function nearest(native: Native, entry: Entry, side: number, before: Uint8Array): number {
  const { values, dtype, count, shape } = entry;
  const alphabet = alphabetOf(entry);
  const width = symbolBytes(alphabet);
  const out = native.take(count * width);
  const { u8 } = native;
  if (values === 0) {
    for (let i = 0; i < count; i++) u8[out + i] = dtype === "int8" ? before[i]! ^ 128 : before[i]!;
    return out;
  }
  const element = valueReader(new DataView(before.buffer, before.byteOffset, before.length), dtype);
  const sideValue = valueReader(new DataView(u8.buffer, side), dtype);
  const put = (i: number, symbol: number): void => {
    u8[out + i * width] = symbol;
    if (width === 2) u8[out + 2 * i + 1] = symbol >> 8;
  };
  if (typeof values === "number") {
    const middles = Array.from({ length: values - 1 }, (_, j) => (sideValue(j) + sideValue(j + 1)) / 2);
    for (let j = 1; j < values; j++) if (sideValue(j) < sideValue(j - 1)) throw new CodecError("the values do not ascend");
    for (let i = 0; i < count; i++) {
      const value = element(i);
      let [low, high] = [0, Number.isNaN(value) ? 0 : middles.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (middles[middle]! < value) low = middle + 1;
        else high = middle;
      }
      put(i, low);
    }
    return out;
  }
  const rows = shape[values.axis]!;
  const inner = shape.slice(values.axis + 1).reduce((a, b) => a * b, 1);
  for (let i = 0; i < count; i++) {
    const scale = sideValue(values.perIndex ? Math.floor(i / inner) % rows : 0) * (values.trellis ? 2 : 1);
    const quotient = scale === 0 ? 0 : element(i) / scale;
    const symbol = Number.isNaN(quotient) ? -Infinity : roundHalfToEven(quotient) - values.lowest;
    put(i, Math.min(Math.max(symbol, 0), alphabet - 1));
  }
  return out;
}

/** Address of the distinct values of `before`, ascending: the codebook of `entry`. Throws CodecError when it has another length. */
export function baseCodebook(native: Native, { dtype, values }: Entry, before: Uint8Array): number {
  const itemsize = ITEM_BYTES[dtype];
  const view = new DataView(before.buffer, before.byteOffset, before.length);
  const first = new Map<number | bigint, number>(); // bits: element that has them
  for (let i = 0, at = 0; at < before.length; i++, at += itemsize) {
    const bits = itemsize === 8 ? view.getBigUint64(at, true) : itemsize === 4 ? view.getUint32(at, true) : itemsize === 2 ? view.getUint16(at, true) : before[at]!;
    if (first.has(bits)) continue;
    first.set(bits, i);
    if (typeof values !== "number" || first.size > values) throw new CodecError("the base's tensor has another number of values");
  }
  if (first.size !== values) throw new CodecError("the base's tensor has another number of values");
  const value = valueReader(view, dtype);
  const sorted = [...first].map(([bits, i]) => ({ bits, i, value: value(i) }));
  const byBits = (a: { bits: number | bigint }, b: { bits: number | bigint }): number => (a.bits < b.bits ? -1 : 1);
  sorted.sort((a, b) => {
    const nans = Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value));
    return nans || a.value - b.value || byBits(a, b); // NaN - NaN is no order, as is 0 - -0
  });
  const out = native.take(values * itemsize);
  sorted.forEach(({ i }, place) => native.u8.set(before.subarray(i * itemsize, (i + 1) * itemsize), out + place * itemsize));
  return out;
}

/** (number of an element) -> its value in double precision. */
function valueReader(view: DataView, dtype: Dtype): (i: number) => number {
  const widened = new DataView(new ArrayBuffer(4));
  const asFloat = (bits: number): number => {
    widened.setUint32(0, bits);
    return widened.getFloat32(0);
  };
  switch (dtype) {
    case "float32": return (i) => view.getFloat32(4 * i, true);
    case "float64": return (i) => view.getFloat64(8 * i, true);
    case "float16": return (i) => asFloat(widenHalf(view.getUint16(2 * i, true)));
    case "bfloat16": return (i) => asFloat(view.getUint16(2 * i, true) << 16);
    case "int8": return (i) => view.getInt8(i);
    case "uint8": return (i) => view.getUint8(i);
    case "int16": return (i) => view.getInt16(2 * i, true);
    case "uint16": return (i) => view.getUint16(2 * i, true);
    case "int32": return (i) => view.getInt32(4 * i, true);
    case "int64": return (i) => Number(view.getBigInt64(8 * i, true));
  }
}

function roundHalfToEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}
