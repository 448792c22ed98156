import { CodecError } from "./error.ts";
import { BitReader, Reader } from "./reader.ts";
import { gaps, type SymbolJob } from "./symbols.ts";

const IN_FILTER = 0;
const STREAM = 1;
const GAPS = 2;
const EMPTY_CLASS = 16;
const CELLS_MIN = 64;
const CELLS_MAX = 2 ** 31 - 1;
const CODE_MAX_BITS = 15;

/** The symbols of a code by (length, symbol), and how many have each length (from 0). */
interface Code {
  readonly counts: readonly number[];
  readonly ordered: readonly number[];
}

/** A filter that tells of any position whether it may hold something else than the background. */
export function bloomier(job: SymbolJob): void {
  const { native, alphabet, shape, count, out } = job;
  const rows = shape.length > 1 ? shape[0]! : 1;
  const columns = count / rows;
  const reader = new Reader(native, job.payload, job.payload + job.payloadBytes);
  const form = reader.byte();
  if (form > GAPS) throw new CodecError(`a filter of form ${form} is not known`);
  const background = reader.varint(alphabet - 1);
  const rowClass = stream(job, reader, rows, EMPTY_CLASS + 1, 1);
  const columnClass = stream(job, reader, columns, EMPTY_CLASS + 1, 1);
  const highest = [highestClass(native.u8, rowClass, rows), highestClass(native.u8, columnClass, columns)] as const;
  const some = highest[0] !== null && highest[1] !== null;
  const checks = some ? highest[0] + highest[1] : 0;
  const code = form === IN_FILTER && some ? readCode(reader, alphabet) : { counts: [1], ordered: [background] };
  const values = code.counts.length - 1;

  const groups: number[] = [];
  for (let group = 0; group < checks + values; group++) {
    const cells = reader.varint(CELLS_MAX);
    if (cells === 0 && group < checks) {
      groups.push(reader.at, 0, 0);
      continue;
    }
    if (cells < CELLS_MIN) throw new CodecError(`a filter's group of ${cells} cells`);
    const seed = reader.byte();
    const cellBytes = Math.ceil(cells / 8);
    const at = reader.take(cellBytes);
    if (cells % 8 !== 0 && native.u8[at + cellBytes - 1]! >> cells % 8 !== 0) throw new CodecError("bits are left over after a group's cells");
    groups.push(at, cells, seed);
  }

  const marker = form === IN_FILTER ? 0 : background ^ 1;
  const groupsAt = native.int64(groups.map((field, place) => (place % 3 === 0 ? field - job.payload : field)));
  const countsAt = native.int64(code.counts);
  const orderedAt = native.take(2 * code.ordered.length);
  const keys = native.take(4 * (checks + values));
  code.ordered.forEach((symbol, place) => {
    native.u8[orderedAt + 2 * place] = symbol & 0xff;
    native.u8[orderedAt + 2 * place + 1] = symbol >> 8;
  });
  native.call(
    "ep_bloomier_decode", job.payload, BigInt(job.payloadBytes), groupsAt, BigInt(checks), BigInt(values), rowClass, BigInt(rows),
    columnClass, BigInt(columns), countsAt, form === IN_FILTER ? orderedAt : 0, BigInt(background), BigInt(marker), keys, out,
    BigInt(job.symbolBytes),
  );
  if (form !== IN_FILTER) fillPassing(job, reader, form, marker);
  reader.finish();
}

/** Puts what follows the groups in place of each marker. */
function fillPassing(job: SymbolJob, reader: Reader, form: number, marker: number): void {
  const { native, count, out } = job;
  const wide = job.symbolBytes === 2;
  let passing = 0;
  for (let i = 0; i < count; i++) {
    const symbol = wide ? native.u8[out + 2 * i]! | (native.u8[out + 2 * i + 1]! << 8) : native.u8[out + i]!;
    if (symbol === marker) passing++;
  }
  let from: number;
  if (form === STREAM) {
    from = stream(job, reader, passing, job.alphabet, job.symbolBytes);
  } else {
    if (passing === 0) throw new CodecError("gaps of nothing");
    from = native.take(passing * job.symbolBytes);
    gaps({ ...job, payload: reader.at, payloadBytes: reader.left, shape: [passing], count: passing, out: from });
    reader.take(reader.left);
  }
  const { u8 } = native;
  for (let i = 0; i < count; i++) {
    if (wide) {
      if ((u8[out + 2 * i]! | (u8[out + 2 * i + 1]! << 8)) !== marker) continue;
      u8[out + 2 * i] = u8[from++]!;
      u8[out + 2 * i + 1] = u8[from++]!;
    } else if (u8[out + i]! === marker) {
      u8[out + i] = u8[from++]!;
    }
  }
}

/** Address of `count` symbols read from a stream. */
function stream({ native }: SymbolJob, reader: Reader, count: number, alphabet: number, width: 1 | 2): number {
  const out = native.take(count * width);
  const before = native.mark();
  const [work, workBytes] = native.work("ep_stream_work_bytes");
  const used = native.call(
    "ep_stream_decode", reader.at, BigInt(reader.left), BigInt(count), BigInt(alphabet), out, BigInt(width), work, workBytes,
  );
  native.release(before);
  reader.take(used);
  return out;
}

/** The highest class that is not empty; null when all are. */
function highestClass(u8: Uint8Array, at: number, count: number): number | null {
  let highest: number | null = null;
  for (let i = at; i < at + count; i++) {
    const one = u8[i]!;
    if (one < EMPTY_CLASS && (highest === null || one > highest)) highest = one;
  }
  return highest;
}

/** Low, span and code lengths, as a stream begins. */
function readCode(reader: Reader, alphabet: number): Code {
  const low = reader.varint(alphabet - 1);
  const span = reader.varint(alphabet - 1 - low) + 1;
  if (span === 1) return { counts: [1], ordered: [low] };
  const bits = new BitReader(reader);
  const lengths: number[] = [];
  let length = 32 - Math.clz32(span - 1);
  let room = 0; // sum of 2^-length, in 2^-15
  for (let i = 0; i < span; i++) {
    let number = 0;
    while (bits.bit() === 0) if (++number > 2 * CODE_MAX_BITS + 1) throw new CodecError("a code length is not possible");
    if (number === 1) {
      lengths.push(0);
      continue;
    }
    length += number % 2 === 0 ? number / 2 : -(number - 1) / 2;
    if (length < 1 || length > CODE_MAX_BITS) throw new CodecError("a code length is not possible");
    lengths.push(length);
    room += 1 << (CODE_MAX_BITS - length);
  }
  bits.finish();
  if (lengths[0] === 0 || lengths[span - 1] === 0 || room !== 1 << CODE_MAX_BITS) throw new CodecError("a code table is not complete");
  const counts = new Array<number>(Math.max(...lengths) + 1).fill(0);
  const ordered: number[] = [];
  for (let of = 1; of < counts.length; of++) {
    for (let i = 0; i < span; i++) {
      if (lengths[i] !== of) continue;
      ordered.push(low + i);
      counts[of]!++;
    }
  }
  return { counts, ordered };
}
