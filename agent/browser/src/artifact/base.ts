import { CodecError } from "../codec/error.ts";
import { TEXT_MAX_BYTES } from "../codec/text.ts";
import { ArtifactError } from "./error.ts";
import { type Dtype, type Entry, ITEM_BYTES, type OnnxName } from "./header.ts";
import { Sha256 } from "./sha256.ts";

const SKELETON_TENSOR_MAX_BYTES = 4096; // larger tensors are no part of a base's skeleton
const NAME_MAX_CHARS = 1024;
const DIMS_MAX = 8;
const DTYPES: Readonly<Record<number, Dtype>> = {
  1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 10: "float16", 11: "float64", 16: "bfloat16",
}; // TensorProto.DataType

interface Hole {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

interface Field {
  readonly number: number;
  readonly wire: number; // 0 varint, 1 eight bytes, 2 bytes, 5 four bytes
  readonly start: number;
  readonly end: number;
}

/** The ONNX file that a delta changes, and its tensors by name. */
export class Base {
  readonly #onnx: Uint8Array;
  readonly #holes = new Map<string, Hole>();

  /** Raises ArtifactError when `onnx` is missing, or not the file that is `wanted`. */
  constructor(onnx: Uint8Array | undefined, wanted: OnnxName) {
    const needs = (why: string): ArtifactError =>
      new ArtifactError(
        "file",
        `this is a delta against the model with the SHA-256 ${wanted.onnxSha256} (${wanted.onnxBytes} bytes): give that ONNX file as the base; ${why}`,
      );
    if (!onnx) throw needs("none was given");
    if (onnx.length !== wanted.onnxBytes) throw needs(`the one given has ${onnx.length} bytes`);
    const sha256 = new Sha256();
    sha256.update(onnx);
    if (sha256.hex() !== wanted.onnxSha256) throw needs("the one given is another");
    this.#onnx = onnx;
    const holes: Hole[] = [];
    for (const graph of fields(onnx, 0, onnx.length)) {
      if (graph.number !== 7) continue;
      for (const part of fields(onnx, graph.start, graph.end)) {
        if (part.number === 5) holes.push(...tensor(onnx, part, ""));
        else if (part.number === 1) holes.push(...constant(onnx, part));
      }
    }
    holes.sort((a, b) => a.start - b.start);
    for (const hole of holes) if (!this.#holes.has(hole.name)) this.#holes.set(hole.name, hole);
  }

  /** The bytes of the tensor that `entry` changes. Throws CodecError when the base has none. */
  bytesOf({ name, dtype, shape }: Entry): Uint8Array {
    const hole = this.#holes.get(name);
    if (!hole || hole.dtype !== dtype || hole.shape.length !== shape.length || hole.shape.some((side, place) => side !== shape[place])) {
      throw new CodecError("the base has no such tensor");
    }
    return this.#onnx.subarray(hole.start, hole.end);
  }

  /** What the reader of a delta's skeleton has seen: the file without its larger tensors, to 256 KiB. */
  skeleton(): Uint8Array {
    const out = new Uint8Array(Math.min(TEXT_MAX_BYTES, this.#onnx.length));
    let size = 0;
    let at = 0;
    const add = (end: number): void => {
      const part = this.#onnx.subarray(at, Math.min(end, at + out.length - size));
      out.set(part, size);
      size += part.length;
    };
    for (const { start, end } of this.#holes.values()) {
      if (end - start <= SKELETON_TENSOR_MAX_BYTES) continue;
      add(start);
      at = end;
    }
    add(this.#onnx.length);
    return out.subarray(0, size);
  }
}

/** A Constant node's tensors: the node's output names those without a name. */
function constant(onnx: Uint8Array, node: Field): Hole[] {
  let output = "";
  let isConstant = false;
  const values: Field[] = [];
  for (const field of fields(onnx, node.start, node.end)) {
    if (field.number === 2) output = text(onnx, field);
    else if (field.number === 4) isConstant = text(onnx, field) === "Constant";
    else if (field.number === 5) for (const part of fields(onnx, field.start, field.end)) if (part.number === 5) values.push(part);
  }
  return isConstant ? values.flatMap((value) => tensor(onnx, value, output)) : [];
}

function tensor(onnx: Uint8Array, of: Field, defaultName: string): Hole[] {
  const shape: number[] = [];
  const data: Field[] = [];
  let name = "";
  let dtype: Dtype | undefined;
  for (const field of fields(onnx, of.start, of.end)) {
    if (field.number === 1 && (field.wire === 0 || field.wire === 2)) {
      for (let at = field.start; at < field.end; ) {
        const [side, after] = varint(onnx, at, field.end);
        shape.push(side);
        at = after;
      }
    } else if (field.number === 2 && field.wire === 0) dtype = DTYPES[varint(onnx, field.start, field.end)[0]];
    else if (field.number === 8) name = text(onnx, field);
    else if ((field.number === 4 || field.number === 9) && field.wire === 2) data.push(field);
  }
  name ||= defaultName;
  const [first, ...more] = data;
  if (!dtype || !first || more.length > 0 || name === "" || [...name].length > NAME_MAX_CHARS || shape.length > DIMS_MAX) return [];
  const bytes = shape.reduce((a, b) => a * b, ITEM_BYTES[dtype]);
  return bytes > 0 && bytes === first.end - first.start ? [{ name, dtype, shape, start: first.start, end: first.end }] : [];
}

/** The fields of a protobuf message (protobuf.dev, "Encoding"). */
function* fields(bytes: Uint8Array, from: number, to: number): Generator<Field> {
  let at = from;
  while (at < to) {
    const [key, after] = varint(bytes, at, to);
    const wire = key % 8;
    let start = after;
    let end: number;
    if (wire === 0) end = varint(bytes, after, to)[1];
    else if (wire === 2) {
      const [length, behind] = varint(bytes, after, to);
      start = behind;
      end = behind + length;
    } else if (wire === 1 || wire === 5) end = after + (wire === 1 ? 8 : 4);
    else throw noOnnx(at);
    if (end > to) throw noOnnx(at);
    yield { number: Math.floor(key / 8), wire, start, end };
    at = end;
  }
}

/** (number, where it ends); exact below 2^53. */
function varint(bytes: Uint8Array, from: number, to: number): [number, number] {
  let value = 0;
  for (let place = 0; place < 10 && from + place < to; place++) {
    const part = bytes[from + place]!;
    value += (part & 0x7f) * 2 ** (7 * place);
    if (part < 0x80) return [value, from + place + 1];
  }
  throw noOnnx(from);
}

function text(bytes: Uint8Array, { start, end }: Field): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(start, end));
}

function noOnnx(at: number): ArtifactError {
  return new ArtifactError("file", `the base is no ONNX file (at byte ${at})`);
}
