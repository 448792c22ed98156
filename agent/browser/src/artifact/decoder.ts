/* An artifact is decoded as it comes: START -> HEAD -> a section after the other -> END.
 *
 * The ONNX file is made in the memory of one WebAssembly instance, where the compiled codec decodes symbols into the end of each
 * tensor's own bytes. A section is kept where its tensor leaves room: in front of the symbols, else behind the tensor, where nothing
 * is yet. What a coder needs for working is given out behind the file and given back after each tensor.
 */
import { CodecError } from "../codec/error.ts";
import { MemoryError, Native } from "../codec/native.ts";
import { symbolBytes } from "../codec/symbols.ts";
import { BYTE_DECODERS } from "../codec/bytes.ts";
import { Base } from "./base.ts";
import { crc32 } from "./crc32.ts";
import { ArtifactError } from "./error.ts";
import { type Front, openHead, readFront, type Skeleton, START_BYTES } from "./head.ts";
import { alphabetOf, DIFFERENCE, type Entry, type Header, SAME } from "./header.ts";
import { BLOCK_BYTES, type Body, decodeBlock, decodeBody } from "./section.ts";
import { Sha256 } from "./sha256.ts";

export interface DecodeOptions {
  /** The largest ONNX file that is allowed here. */
  readonly maxBytes: number;
  /** The ONNX file that a delta needs. */
  readonly base?: Uint8Array | undefined;
}

const CRC_BYTES = 2;
const VARINT_MAX_BYTES = 5;

/** A section that is coming. */
interface Section {
  readonly entry: Entry;
  readonly out: number;
  readonly at: number; // where its body is kept; of a section in blocks, nowhere
  bodyLeft: number;
  trailer: number[]; // the checksum's bytes
  crc: number;
  block: Block | null;
}

/** A block of a section that is coming. */
interface Block {
  first: number; // byte of the tensor
  lengthBytes: number[];
  payload: { at: number; bytes: number; got: number } | null;
}

/** Decodes an artifact whose bytes come in chunks of any size; each tensor as soon as it is there. */
export class ArtifactDecoder {
  readonly #native: Native;
  readonly #options: DecodeOptions;
  readonly #sha256 = new Sha256();
  #kept = new Uint8Array(START_BYTES); // of the front
  #keptBytes = 0;
  #front: Front | null = null;
  #header: Header | null = null;
  #skeleton: Skeleton | null = null;
  #skeletonLeft = 0;
  #base: Base | null = null;
  #model = 0; // address of the ONNX file
  #at = 0; // how much of it is there
  #number = 0; // of the tensor that is coming
  #section: Section | null = null;
  #failure: ArtifactError | null = null;
  #isDone = false;

  constructor(codec: WebAssembly.Module, options: DecodeOptions) {
    this.#native = new Native(codec);
    this.#options = options;
  }

  /** The header, as soon as it has come. */
  get header(): Header | null {
    return this.#header;
  }

  /** How many tensors are decoded. */
  get tensorsDone(): number {
    return this.#number;
  }

  /** Bytes of WebAssembly's memory in use at most so far, the ONNX file's included. */
  get peakBytes(): number {
    return this.#native.peakBytes;
  }

  /** The next bytes. Raises ArtifactError as soon as something is wrong; the decoder is then done for. */
  push(chunk: Uint8Array): void {
    this.#checked("file", () => this.#push(chunk));
  }

  /** No more bytes come: the ONNX file, whose SHA-256 is right. Raises ArtifactError.
   *
   * It is a view of WebAssembly's memory, which lives as long as the view does: a copy would need as much again.
   */
  finish(): Uint8Array {
    if (!this.#isDone) this.#checked("skeleton", () => this.#finish());
    this.#isDone = true;
    return this.#native.u8.subarray(this.#model, this.#model + this.#at);
  }

  #checked(section: string, run: () => void): void {
    if (this.#failure) throw this.#failure;
    try {
      run();
    } catch (error) {
      if (error instanceof ArtifactError) this.#failure = error;
      else if (error instanceof CodecError) this.#failure = new ArtifactError(this.#section ? `tensor '${this.#section.entry.name}'` : section, error.message);
      else if (error instanceof MemoryError) this.#failure = new ArtifactError("file", error.message);
      else throw error;
      throw this.#failure;
    }
  }

  #push(chunk: Uint8Array): void {
    let at = this.#header ? 0 : this.#pushFront(chunk);
    while (this.#section) {
      at = this.#receive(this.#section, chunk, at);
      if (!this.#isWhole(this.#section)) return;
      this.#endSection(this.#section);
    }
    if (this.#header && at < chunk.length) throw new ArtifactError("file", "bytes follow after its end; fetch it again");
  }

  #finish(): void {
    if (!this.#front) readFront(this.#kept.subarray(0, this.#keptBytes)); // says what is wrong with a file as short as this
    if (!this.#header || !this.#skeleton) throw new ArtifactError("file", `it ends in the header, at byte ${this.#keptBytes}; fetch it again`);
    if (this.#section) throw new ArtifactError(`tensor '${this.#section.entry.name}'`, "the file ends in it; fetch it again");
    this.#copySkeleton(this.#skeletonLeft);
    this.#skeleton.finish();
    if (this.#sha256.hex() !== this.#header.onnxSha256) {
      throw new ArtifactError("file", "the decoded model's SHA-256 is not the header's; fetch the artifact again");
    }
  }

  /** Takes what belongs to the front, and opens it when it is whole; where in `chunk` the rest begins. */
  #pushFront(chunk: Uint8Array): number {
    let at = this.#keep(chunk, 0, START_BYTES);
    if (this.#keptBytes < START_BYTES) return at;
    this.#front ??= readFront(this.#kept);
    at = this.#keep(chunk, at, this.#front.end);
    if (this.#keptBytes < this.#front.end) return at;
    [this.#header, this.#skeleton] = openHead(this.#native, this.#front, this.#kept, (header) => {
      if (header.onnxBytes > this.#options.maxBytes) {
        throw new ArtifactError("header", `the model decodes to ${header.onnxBytes} bytes, more than the ${this.#options.maxBytes} allowed here`);
      }
      if (header.base) this.#base = new Base(this.#options.base, header.base);
      return this.#base?.skeleton() ?? null;
    });
    this.#skeletonLeft = this.#header.onnxBytes - this.#header.tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#model = this.#native.take(this.#header.onnxBytes);
    this.#openSection();
    return at;
  }

  /** Keeps bytes of `chunk` from `at` until `wanted` are kept; memory grows with what comes, not with what is promised. */
  #keep(chunk: Uint8Array, at: number, wanted: number): number {
    const some = Math.min(wanted - this.#keptBytes, chunk.length - at);
    if (some <= 0) return at;
    if (this.#keptBytes + some > this.#kept.length) {
      const larger = new Uint8Array(Math.min(wanted, Math.max(2 * this.#kept.length, this.#keptBytes + some)));
      larger.set(this.#kept.subarray(0, this.#keptBytes));
      this.#kept = larger;
    }
    this.#kept.set(chunk.subarray(at, at + some), this.#keptBytes);
    this.#keptBytes += some;
    return at + some;
  }

  /** The skeleton's next bytes to the ONNX file. */
  #copySkeleton(count: number): void {
    const from = this.#model + this.#at;
    try {
      this.#skeleton!.read(this.#native.u8, from, count);
    } catch (error) {
      if (error instanceof CodecError) throw new ArtifactError("skeleton", error.message);
      throw error;
    }
    this.#sha256.update(this.#native.u8, from, from + count);
    this.#skeletonLeft -= count;
    this.#at += count;
  }

  #openSection(): void {
    const entry = this.#header!.tensors[this.#number];
    this.#section = null;
    if (!entry) return;
    this.#copySkeleton(entry.skip);
    const where = `tensor '${entry.name}'`;
    const sealed = entry.crc32 === null && entry.coding !== SAME;
    if (sealed && entry.storedBytes < CRC_BYTES) throw new ArtifactError(where, "it is too short for its checksum");
    if (entry.coding === SAME && entry.storedBytes > 0) throw new ArtifactError(where, "the base's tensor needs no bytes");
    const bodyLeft = entry.storedBytes - (sealed ? CRC_BYTES : 0);
    const out = this.#model + this.#at;
    const isOfBytes = BYTE_DECODERS.has(entry.coding) || entry.coding === DIFFERENCE;
    const inBlocks = isOfBytes && entry.coding !== "raw" && this.#front!.version > 1 && entry.sizeBytes > BLOCK_BYTES;
    const block = inBlocks ? { first: 0, lengthBytes: [], payload: null } : null;
    const at = entry.coding === "raw" ? out : inBlocks ? 0 : this.#placeForBody(entry, out, bodyLeft, isOfBytes);
    if (entry.coding === "raw" && bodyLeft !== entry.sizeBytes) throw new ArtifactError(where, `${bodyLeft} bytes stored for a tensor of ${entry.sizeBytes}`);
    this.#section = { entry, out, at, bodyLeft, trailer: [], crc: 0, block };
  }

  /** Where `size` bytes of a section can lie while its tensor is decoded: in front of its symbols, or behind it, as far as that goes
   * in the memory of tensors that come later. */
  #placeForBody(entry: Entry, out: number, size: number, isOfBytes: boolean): number {
    if (!isOfBytes && size <= entry.sizeBytes - entry.count * symbolBytes(alphabetOf(entry))) return out;
    const behind = out + entry.sizeBytes;
    const end = this.#model + this.#header!.onnxBytes;
    if (size > end - behind) this.#native.take(behind + size - end);
    return behind;
  }

  #isWhole(section: Section): boolean {
    return section.bodyLeft === 0 && section.trailer.length === this.#trailerBytes(section);
  }

  #trailerBytes({ entry }: Section): number {
    return entry.crc32 === null && entry.coding !== SAME ? CRC_BYTES : 0;
  }

  /** Takes what belongs to the section; where in `chunk` the rest begins. */
  #receive(section: Section, chunk: Uint8Array, at: number): number {
    const some = Math.min(section.bodyLeft, chunk.length - at);
    if (some > 0) {
      section.crc = crc32(chunk, at, at + some, section.crc);
      const got = section.entry.storedBytes - this.#trailerBytes(section) - section.bodyLeft;
      if (section.block) this.#receiveBlocks(section, section.block, chunk.subarray(at, at + some));
      else this.#native.u8.set(chunk.subarray(at, at + some), section.at + got);
      section.bodyLeft -= some;
      at += some;
    }
    while (section.bodyLeft === 0 && section.trailer.length < this.#trailerBytes(section) && at < chunk.length) section.trailer.push(chunk[at++]!);
    return at;
  }

  /** As `#receive` for a body in blocks, each a payload behind its length; blocks are decoded as they come. */
  #receiveBlocks(section: Section, block: Block, part: Uint8Array): void {
    const { entry } = section;
    let at = 0;
    while (at < part.length) {
      if (block.first === entry.sizeBytes) throw new CodecError("bytes are left over after the payload");
      if (!block.payload) {
        const byte = part[at++]!;
        block.lengthBytes.push(byte);
        if (byte >= 0x80 && block.lengthBytes.length < VARINT_MAX_BYTES) continue;
        const bytes = block.lengthBytes.reduce((sum, one, place) => sum + (one & 0x7f) * 2 ** (7 * place), 0);
        if (byte >= 0x80 || (byte === 0 && block.lengthBytes.length > 1) || bytes > section.bodyLeft - at) throw new CodecError("a block's length is not possible");
        block.payload = { at: this.#native.take(bytes), bytes, got: 0 };
      }
      const { payload } = block;
      const some = Math.min(payload.bytes - payload.got, part.length - at);
      this.#native.u8.set(part.subarray(at, at + some), payload.at + payload.got);
      payload.got += some;
      at += some;
      if (payload.got < payload.bytes) return;
      const size = Math.min(BLOCK_BYTES, entry.sizeBytes - block.first);
      decodeBlock(this.#body(section, payload.at, payload.bytes), block.first, size);
      this.#native.release(this.#model + this.#header!.onnxBytes);
      block.first += size;
      block.lengthBytes = [];
      block.payload = null;
    }
  }

  #body(section: Section, at: number, bytes: number): Body {
    return { native: this.#native, entry: section.entry, at, bytes, out: section.out, version: this.#front!.version, base: this.#base };
  }

  /** The section is there: checks it, decodes it, goes on to the next. */
  #endSection(section: Section): void {
    const { entry, out, at } = section;
    const expected = entry.crc32 ?? (section.trailer[0] ?? 0) + 256 * (section.trailer[1] ?? 0);
    if ((entry.crc32 === null ? section.crc & 0xffff : section.crc) !== expected) {
      throw new ArtifactError(`tensor '${entry.name}'`, "its checksum does not match; fetch the artifact again");
    }
    if (section.block) {
      if (section.block.first < entry.sizeBytes) throw new CodecError("the payload ends early");
    } else if (entry.coding !== "raw") decodeBody(this.#body(section, at, entry.storedBytes - this.#trailerBytes(section)));
    this.#native.release(this.#model + this.#header!.onnxBytes);
    this.#sha256.update(this.#native.u8, out, out + entry.sizeBytes);
    this.#at += entry.sizeBytes;
    this.#number++;
    this.#openSection();
  }
}
