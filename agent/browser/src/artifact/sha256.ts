// FIPS 180-4. Our own because crypto.subtle takes a message whole, copies it, and is not there on plain http.

const BLOCK_BYTES = 64;

/** The first 32 bits of the fraction of the `root`-th roots of the first `count` primes (sections 4.2.2 and 5.3.3). */
function rootFractions(count: number, root: number): Int32Array {
  const out = new Int32Array(count);
  for (let prime = 2, found = 0; found < count; prime++) {
    let divisor = 2;
    while (divisor * divisor <= prime && prime % divisor !== 0) divisor++;
    if (divisor * divisor > prime) out[found++] = Math.floor((prime ** (1 / root) % 1) * 2 ** 32) | 0;
  }
  return out;
}

const CONSTANTS = rootFractions(64, 3);
const START = rootFractions(8, 2);

/** SHA-256 of a message that comes in parts. */
export class Sha256 {
  readonly #state = START.slice();
  readonly #words = new Int32Array(64);
  readonly #rest = new Uint8Array(BLOCK_BYTES);
  #restBytes = 0;
  #bytes = 0;

  /** The next bytes of the message: `from` .. `to` of `data`. */
  update(data: Uint8Array, from = 0, to = data.length): void {
    this.#bytes += to - from;
    let at = from;
    if (this.#restBytes > 0) {
      at += Math.min(BLOCK_BYTES - this.#restBytes, to - from);
      this.#rest.set(data.subarray(from, at), this.#restBytes);
      this.#restBytes += at - from;
      if (this.#restBytes < BLOCK_BYTES) return;
      this.#block(this.#rest, 0);
    }
    for (; at + BLOCK_BYTES <= to; at += BLOCK_BYTES) this.#block(data, at);
    this.#rest.set(data.subarray(at, to));
    this.#restBytes = to - at;
  }

  /** The digest, 64 lower-case hex digits. Nothing may follow. */
  hex(): string {
    const bits = this.#bytes * 8;
    const end = new Uint8Array(this.#restBytes < 56 ? BLOCK_BYTES : 2 * BLOCK_BYTES);
    end.set(this.#rest.subarray(0, this.#restBytes));
    end[this.#restBytes] = 0x80;
    new DataView(end.buffer).setBigUint64(end.length - 8, BigInt(bits));
    for (let at = 0; at < end.length; at += BLOCK_BYTES) this.#block(end, at);
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #block(data: Uint8Array, from: number): void {
    const w = this.#words;
    const s = this.#state;
    for (let i = 0, at = from; i < 16; i++, at += 4) {
      w[i] = (data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!;
    }
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15]!;
      const y = w[i - 2]!;
      const small0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const small1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[i] = (w[i - 16]! + small0 + w[i - 7]! + small1) | 0;
    }
    let a = s[0]!, b = s[1]!, c = s[2]!, d = s[3]!, e = s[4]!, f = s[5]!, g = s[6]!, h = s[7]!;
    for (let i = 0; i < 64; i++) {
      const big1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const one = (h + big1 + ((e & f) ^ (~e & g)) + CONSTANTS[i]! + w[i]!) | 0;
      const big0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const two = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + two) | 0;
    }
    s[0] = s[0]! + a;
    s[1] = s[1]! + b;
    s[2] = s[2]! + c;
    s[3] = s[3]! + d;
    s[4] = s[4]! + e;
    s[5] = s[5]! + f;
    s[6] = s[6]! + g;
    s[7] = s[7]! + h;
  }
}
