import { CodecError } from "./error.ts";

/** The decoders of compression/native that are used here. Pointers are numbers, everything else is int64_t. */
interface Exports {
  memory: WebAssembly.Memory;
  __heap_base: WebAssembly.Global<"i32">;
  ep_abi(): bigint;
  [name: string]: unknown;
}

type Entry = (...args: (number | bigint)[]) => bigint;

const ABI = 1n; // of edgepress.h
const PAGE_BYTES = 1 << 16;
const ALIGN = 64;
/** WebAssembly's addresses have 32 bits; what lies above the model's 2^31 bytes is for working. */
const MEMORY_MAX_BYTES = 2 ** 32 - PAGE_BYTES;

/** The errors of edgepress.h, in the words of the decoder in Python. */
const REASONS: Record<string, string> = {
  "-1": "the payload ends early",
  "-2": "bytes or bits are left over after the payload",
  "-3": "a number is outside what is possible here",
  "-4": "a code table is not complete",
  "-5": "the payload does not end as an encoder ends it",
  "-7": "the work memory is too small",
  "-8": "an argument is not possible",
};

/** There is not as much memory as the artifact needs. */
export class MemoryError extends Error {
  override readonly name = "MemoryError";
}

/** One instance of the compiled codec, with its memory: the stack and constants, then what `take` gave out.
 *
 * Memory only ever grows; `mark` and `release` say what is in use. `u8` must be read anew after `take`: a view of
 * memory that grew is dead.
 */
export class Native {
  readonly #exports: Exports;
  #top: number;
  #peak: number;
  u8: Uint8Array<ArrayBuffer>;

  /** Raises Error when `module` is a codec of another version. */
  constructor(module: WebAssembly.Module) {
    this.#exports = new WebAssembly.Instance(module).exports as unknown as Exports;
    if (this.#exports.ep_abi() !== ABI) throw new Error("codec.wasm is of another version: build it again");
    this.#top = this.#exports.__heap_base.value;
    this.#peak = this.#top;
    this.u8 = new Uint8Array(this.#exports.memory.buffer);
  }

  /** How many bytes of memory were in use at most. */
  get peakBytes(): number {
    return this.#peak;
  }

  /** Address of `size` bytes, whatever they hold. Raises MemoryError. */
  take(size: number): number {
    const at = Math.ceil(this.#top / ALIGN) * ALIGN;
    const end = at + size;
    if (end > MEMORY_MAX_BYTES) throw new MemoryError(`${end} bytes of memory are needed`);
    if (end > this.u8.length) {
      try {
        this.#exports.memory.grow(Math.ceil((end - this.u8.length) / PAGE_BYTES));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new MemoryError(`${end} bytes of memory are needed, and there are not as many`);
      }
      this.u8 = new Uint8Array(this.#exports.memory.buffer);
    }
    this.#top = end;
    this.#peak = Math.max(this.#peak, end);
    return at;
  }

  /** As `take`, of zeros. */
  takeZeros(size: number): number {
    const at = this.take(size);
    this.u8.fill(0, at, at + size);
    return at;
  }

  mark(): number {
    return this.#top;
  }

  /** Everything that was taken after `mark` may be given out again. */
  release(mark: number): void {
    this.#top = mark;
  }

  /** Address of `values` as int64_t. */
  int64(values: readonly number[]): number {
    const at = this.take(8 * values.length);
    const words = new DataView(this.u8.buffer);
    values.forEach((value, place) => words.setBigInt64(at + 8 * place, BigInt(value), true));
    return at;
  }

  /** Address of `size` work bytes and their number, as `function` asks for them. */
  work(function_: string): [number, bigint] {
    const size = this.#entry(function_)();
    return [this.take(Number(size)), size];
  }

  /** Calls the exported `function`: a count. Raises CodecError with its reason. */
  call(function_: string, ...args: (number | bigint)[]): number {
    const result = Number(this.#entry(function_)(...args));
    if (result < 0) throw new CodecError(REASONS[result] ?? `error ${result}`);
    return result;
  }

  /** Whether this codec has `function`. */
  has(function_: string): boolean {
    return function_ in this.#exports;
  }

  #entry(function_: string): Entry {
    const entry = this.#exports[function_];
    if (typeof entry !== "function") throw new CodecError(`codec.wasm has no ${function_}: build it again`);
    return entry as Entry;
  }
}

/** Node.js, where there is one: a browser fetches the module instead. */
declare const process: { getBuiltinModule?(name: string): { readFileSync(url: URL): Uint8Array<ArrayBuffer> } } | undefined;

/** The compiled codec that lies beside this file; fetched, or read from disk in Node.js. */
export async function loadCodec(url: URL = new URL("./native/codec.wasm", import.meta.url)): Promise<WebAssembly.Module> {
  const files = typeof process === "undefined" ? undefined : process.getBuiltinModule?.("node:fs");
  if (url.protocol === "file:" && files) return WebAssembly.compile(files.readFileSync(url));
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.href} answers ${answer.status}: build the codec with deploy/build_native.py --wasm`);
  return WebAssembly.compile(await answer.arrayBuffer());
}
