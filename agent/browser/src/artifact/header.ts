import { BYTE_DECODERS } from "../codec/bytes.ts";
import { SYMBOL_DECODERS } from "../codec/registry.ts";
import { symbolBytes } from "../codec/symbols.ts";
import { ArtifactError } from "./error.ts";
import { elementsOf, Fields, isInteger, type Json, type JsonObject } from "./json.ts";
import { type Probe, readProbe } from "./probe.ts";

/** The widths of all dtypes in bytes. */
export const ITEM_BYTES = {
  float32: 4, float16: 2, float64: 8, bfloat16: 2, int8: 1, uint8: 1, int16: 2, uint16: 2, int32: 4, int64: 8,
} as const;
export type Dtype = keyof typeof ITEM_BYTES;

export const ONNX_MAX_BYTES = 2 ** 31 - 1;
const TENSORS_MAX = 65_536;
const NAME_MAX_CHARS = 1024;
const VALUES_MAX = 4096;
const WHOLE_MAX = 1 << 23;
const CRC_BYTES = 2;
const VERSION_1_CODINGS = ["raw", "deflate", "planes", "huffman", "gaps"];
export const SAME = "same";
export const DIFFERENCE = "difference";
export const CONTEXT_DELTA = "context-delta";

/** Symbols stand for whole numbers from `lowest`, times a scale. */
export interface Grid {
  readonly lowest: number;
  readonly count: number;
  readonly axis: number;
  readonly perIndex: boolean; // a scale for each index of the axis, not one for all
  readonly trellis: boolean;
}

/** One tensor's section. */
export interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly count: number; // of elements
  readonly sizeBytes: number;
  readonly coding: string;
  readonly values: number | Grid;
  readonly storedBytes: number;
  readonly skip: number; // skeleton bytes before the tensor
  readonly crc32: number | null; // version 1: of the stored bytes
}

/** Length and SHA-256 of an ONNX file. */
export interface OnnxName {
  readonly onnxBytes: number;
  readonly onnxSha256: string;
}

export interface Header extends OnnxName {
  readonly name: string;
  readonly profile: string;
  readonly recipe: JsonObject;
  readonly provenance: JsonObject;
  readonly metadata: JsonObject;
  readonly probe: Probe;
  readonly tensors: readonly Entry[];
  readonly base: OnnxName | null; // of a delta
  readonly baseline: JsonObject | null; // what drift is measured against
}

export function isFloat(dtype: Dtype): boolean {
  return dtype.includes("float");
}

/** How many symbols there are. */
export function alphabetOf(entry: Entry): number {
  return typeof entry.values === "number" ? entry.values || 256 : entry.values.count;
}

/** The header of a file of format version `version`, checked. Raises ArtifactError. */
export function readHeader(json: Json, version: number): Header {
  const required = ["name", "profile", "recipe", "provenance", "metadata", "probe", "onnx_bytes", "onnx_sha256", "tensors"];
  const fields = new Fields("header", "it", json, required, version === 1 ? [] : ["base", "baseline"]);
  const base = fields.has("base") ? readName(new Fields("header", "'base'", fields.value("base"), ["onnx_bytes", "onnx_sha256"])) : null;
  const name = readName(fields);
  const entries = fields.array("tensors");
  if (entries.length > TENSORS_MAX) throw new ArtifactError("header", `${entries.length} tensors, at most ${TENSORS_MAX} are possible`);
  const header: Header = {
    name: fields.string("name"),
    profile: fields.string("profile"),
    recipe: fields.object("recipe"),
    provenance: fields.object("provenance"),
    metadata: fields.object("metadata"),
    probe: readProbe(fields.value("probe")),
    ...name,
    tensors: entries.map((entry) => readEntry(entry, version, base !== null)),
    base,
    baseline: fields.has("baseline") ? fields.object("baseline") : null,
  };
  const needed = header.tensors.reduce((sum, { sizeBytes, skip }) => sum + sizeBytes + skip, 0);
  if (needed > name.onnxBytes) throw new ArtifactError("header", `its tensors need ${needed} bytes of a ${name.onnxBytes}-byte model`);
  return header;
}

/** Bytes of the model that no tensor holds. */
export function skeletonBytes(header: Header): number {
  return header.onnxBytes - header.tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function readName(fields: Fields): OnnxName {
  const onnxSha256 = fields.string("onnx_sha256");
  if (!/^[0-9a-f]{64}$/.test(onnxSha256)) throw new ArtifactError("header", "a model's SHA-256 is no such thing");
  return { onnxBytes: fields.integer("onnx_bytes", 0, ONNX_MAX_BYTES), onnxSha256 };
}

function readEntry(value: Json, version: number, isDelta: boolean): Entry {
  if (!Array.isArray(value) || value.length !== (version === 1 ? 8 : 7)) throw new ArtifactError("header", "an entry of 'tensors' is no such thing");
  const list = value as readonly Json[];
  const [name, dtype, shapeOf, coding, valuesOf, stored] = list;
  if (typeof name !== "string") throw new ArtifactError("header", "a tensor's name is no text");
  const chars = [...name].length;
  if (chars < 1 || chars > NAME_MAX_CHARS) throw new ArtifactError("header", `a tensor's name has ${chars} characters`);
  const where = `tensor '${name}'`;
  if (typeof dtype !== "string" || !Object.hasOwn(ITEM_BYTES, dtype)) throw new ArtifactError(where, `the dtype ${String(dtype)} is not known here; update this edgepress`);
  const known = dtype as Dtype;
  const sized = elementsOf(shapeOf, ONNX_MAX_BYTES / ITEM_BYTES[known]);
  if (!sized) throw new ArtifactError(where, `the shape ${JSON.stringify(shapeOf)} is not possible`);
  const sizeBytes = sized.count * ITEM_BYTES[known];
  const skip = list[list.length - 1];
  // A tensor that would take more is stored as it is.
  if (!isInteger(skip, 0, ONNX_MAX_BYTES) || !isInteger(stored, 0, sizeBytes + CRC_BYTES)) throw new ArtifactError(where, "a length in the header is not possible");
  const crc32 = version === 1 ? list[6] : null;
  if (crc32 !== null && !isInteger(crc32, 0, 2 ** 32 - 1)) throw new ArtifactError(where, "its checksum in the header is not possible");
  const values = readValues(where, valuesOf, known, sized.shape, version);
  if (typeof coding !== "string" || !isKnown(coding, known, values, version, isDelta)) {
    throw new ArtifactError(where, `the coding '${String(coding)}' is not known here; update this edgepress`);
  }
  return { name, dtype: known, ...sized, sizeBytes, coding, values, storedBytes: stored, skip, crc32 };
}

function readValues(where: string, value: Json | undefined, dtype: Dtype, shape: readonly number[], version: number): number | Grid {
  if (isInteger(value, 0, VALUES_MAX)) {
    if (value > 0 && symbolBytes(value) > ITEM_BYTES[dtype]) throw new ArtifactError(where, `a codebook of ${value} values of ${dtype}`);
    return value;
  }
  if (Array.isArray(value) && value.length === 4 && version > 1 && dtype === "float32") {
    const [lowest, count, axis, flags] = value as readonly Json[];
    if (
      isInteger(count, 1, VALUES_MAX) && isInteger(lowest, count - WHOLE_MAX, WHOLE_MAX - count) && isInteger(axis, 0, shape.length - 1) &&
      isInteger(flags, 0, 3)
    ) {
      return { lowest, count, axis, perIndex: (flags & 1) !== 0, trellis: (flags & 2) !== 0 };
    }
  }
  throw new ArtifactError(where, `symbols cannot stand for ${JSON.stringify(value)}`);
}

function isKnown(coding: string, dtype: Dtype, values: number | Grid, version: number, isDelta: boolean): boolean {
  if (version === 1 && !VERSION_1_CODINGS.includes(coding)) return false;
  if (BYTE_DECODERS.has(coding) || (isDelta && (coding === SAME || coding === DIFFERENCE))) return values === 0;
  if (!SYMBOL_DECODERS.has(coding) && !(isDelta && coding === CONTEXT_DELTA)) return false;
  return values !== 0 || dtype === "int8" || dtype === "uint8";
}
