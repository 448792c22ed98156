import type { Native } from "../codec/native.ts";
import { type Entry, type Grid, ITEM_BYTES } from "./header.ts";

const SCRATCH_BYTES = 1 << 16;

/** Writes the elements that the symbols at `symbols` (of `width` bytes) stand for to `out`; `side` is the address of the codebook or the
 * scales.
 *
 * The symbols may lie at the end of the elements' own memory: elements are written from the front, a scratch full at a time, and the
 * symbols not yet used lie behind what is written.
 */
export function expand(native: Native, entry: Entry, symbols: number, width: 1 | 2, side: number, out: number): void {
  const { values, dtype, count } = entry;
  if (typeof values === "number") {
    if (values > 0) expandTable(native, count, symbols, width, ITEM_BYTES[dtype], side, out);
    else if (dtype === "int8") for (let i = 0; i < count; i++) native.u8[out + i] = native.u8[symbols + i]! ^ 128;
    else if (symbols !== out) native.u8.copyWithin(out, symbols, symbols + count);
  } else if (values.perIndex || values.trellis) expandGrid(native, entry, values, symbols, width, side, out);
  else {
    // One multiplication a symbol gives the same float32 as one an element.
    const table = native.take(4 * values.count);
    const floats = new Float32Array(native.u8.buffer, table, values.count);
    const scale = new Float32Array(native.u8.buffer, side, 1)[0]!;
    for (let s = 0; s < values.count; s++) floats[s] = (values.lowest + s) * scale;
    expandTable(native, count, symbols, width, 4, table, out);
  }
}

function expandTable(native: Native, count: number, symbols: number, width: 1 | 2, itemsize: number, table: number, out: number): void {
  const scratch = native.take(SCRATCH_BYTES);
  const { u8 } = native;
  const some = SCRATCH_BYTES / itemsize;
  const Words = itemsize === 1 ? Uint8Array : itemsize === 2 ? Uint16Array : Uint32Array;
  const from = new Words(u8.buffer, table); // to the end of memory: symbols of hostile files are below the alphabet, too
  const to = new Words(u8.buffer, scratch, SCRATCH_BYTES / Words.BYTES_PER_ELEMENT);
  for (let first = 0; first < count; first += some) {
    const last = Math.min(first + some, count);
    if (itemsize === 8) {
      for (let i = first, at = 0; i < last; i++, at += 2) {
        const s = 2 * symbolAt(u8, symbols, width, i);
        to[at] = from[s]!;
        to[at + 1] = from[s + 1]!;
      }
    } else if (width === 1) for (let i = first, at = 0; i < last; i++, at++) to[at] = from[u8[symbols + i]!]!;
    else for (let i = first, at = 0; i < last; i++, at++) to[at] = from[symbolAt(u8, symbols, 2, i)]!;
    u8.copyWithin(out + first * itemsize, scratch, scratch + (last - first) * itemsize);
  }
}

function expandGrid(native: Native, entry: Entry, grid: Grid, symbols: number, width: 1 | 2, side: number, out: number): void {
  const { count, shape } = entry;
  const rows = shape[grid.axis]!;
  const inner = shape.slice(grid.axis + 1).reduce((a, b) => a * b, 1);
  const states = grid.trellis ? native.takeZeros(rows) : 0;
  const scratch = native.take(SCRATCH_BYTES);
  const { u8 } = native;
  const scales = new Float32Array(u8.buffer, side, grid.perIndex ? rows : 1);
  const to = new Float32Array(u8.buffer, scratch, SCRATCH_BYTES / 4);
  let row = 0;
  let left = inner; // elements left in this row, this time
  for (let first = 0; first < count; first += to.length) {
    const last = Math.min(first + to.length, count);
    for (let i = first, at = 0; i < last; i++, at++) {
      if (left === 0) {
        left = inner;
        row = row + 1 === rows ? 0 : row + 1;
      }
      left--;
      let whole = grid.lowest + symbolAt(u8, symbols, width, i);
      if (grid.trellis) {
        const state = u8[states + row]!;
        const [s2, s1, s0] = [state >> 2, (state >> 1) & 1, state & 1];
        u8[states + row] = (s0 << 2) | ((s2 ^ (whole & 1)) << 1) | (s1 ^ s0);
        whole = 2 * whole - (whole > 0 ? s0 : whole < 0 ? -s0 : 0);
      }
      to[at] = whole * scales[grid.perIndex ? row : 0]!; // exact in double precision, then rounded once
    }
    u8.copyWithin(out + 4 * first, scratch, scratch + 4 * (last - first));
  }
}

/** Symbol number `i`; two bytes need not be aligned. */
function symbolAt(u8: Uint8Array, symbols: number, width: 1 | 2, i: number): number {
  return width === 1 ? u8[symbols + i]! : u8[symbols + 2 * i]! | (u8[symbols + 2 * i + 1]! << 8);
}
