import { CodecError } from "./error.ts";
import { DICTIONARY_BASE64 } from "./dictionary.ts";
import type { Native } from "./native.ts";

/** Of text, and of what is seen beside the dictionary. */
export const TEXT_MAX_BYTES = 256 << 10;

/** Address of a model that has seen the dictionary. */
export function startText(native: Native): number {
  const size = native.call("ep_text_work_bytes");
  const model = native.takeZeros(size);
  native.call("ep_text_start", model, BigInt(size));
  const dictionary = atob(DICTIONARY_BASE64);
  const at = native.take(dictionary.length);
  for (let i = 0; i < dictionary.length; i++) native.u8[at + i] = dictionary.charCodeAt(i);
  native.call("ep_text_learn", model, at, BigInt(dictionary.length));
  return model;
}

/** One text, read front to back; `payload` stays where it is until then. */
export class Text {
  readonly #native: Native;
  readonly #model: number;
  readonly #payload: number;
  readonly #payloadBytes: number;
  #used = 0;

  constructor(native: Native, model: number, payload: number, payloadBytes: number) {
    this.#native = native;
    this.#model = model;
    this.#payload = payload;
    this.#payloadBytes = payloadBytes;
  }

  /** See `size` bytes at `at`, which are not coded: the reader has them. */
  learn(at: number, size: number): void {
    this.#native.call("ep_text_learn", this.#model, at, BigInt(size));
  }

  /** The next `size` bytes to `out`. A damaged payload gives other bytes. */
  read(out: number, size: number): void {
    this.#used = this.#native.call("ep_text_decode", this.#model, this.#payload, BigInt(this.#payloadBytes), out, BigInt(size));
  }

  /** The text ends here. */
  finish(): void {
    const last = this.#payloadBytes > 0 ? this.#native.u8[this.#payload + this.#payloadBytes - 1] : 1;
    if (this.#used < this.#payloadBytes || last === 0) throw new CodecError("bytes are left over after the text");
  }
}
