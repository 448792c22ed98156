import { ArtifactError } from "./error.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/** Reads values of known types out of JSON; `section` and `what` are for the error. */
export class Fields {
  readonly #section: string;
  readonly #what: string;
  readonly #object: JsonObject;

  /** Raises ArtifactError unless `value` is an object with the keys `required`, and of others only `optional` ones. */
  constructor(section: string, what: string, value: Json | undefined, required: readonly string[], optional: readonly string[] = []) {
    this.#section = section;
    this.#what = what;
    this.#object = isObject(value) ? value : this.#wrong("an object");
    for (const key of required) if (!Object.hasOwn(this.#object, key)) throw new ArtifactError(section, `${what} has no '${key}'`);
    for (const key of Object.keys(this.#object)) {
      if (required.includes(key) || optional.includes(key)) continue;
      throw new ArtifactError(section, `${what} has an unknown '${key}'; update this edgepress`);
    }
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#object, key);
  }

  value(key: string): Json | undefined {
    return this.#object[key];
  }

  object(key: string): JsonObject {
    const value = this.value(key);
    return isObject(value) ? value : this.#wrong("an object", key);
  }

  array(key: string): readonly Json[] {
    const value = this.value(key);
    return Array.isArray(value) ? (value as readonly Json[]) : this.#wrong("an array", key);
  }

  string(key: string): string {
    const value = this.value(key);
    return typeof value === "string" ? value : this.#wrong("a string", key);
  }

  number(key: string): number {
    const value = this.value(key);
    return typeof value === "number" && Number.isFinite(value) ? value : this.#wrong("a finite number", key);
  }

  /** A whole number of `low` .. `high`. */
  integer(key: string, low: number, high: number): number {
    const value = this.value(key);
    return isInteger(value, low, high) ? value : this.#wrong(`a whole number of ${low} .. ${high}`, key);
  }

  strings<T extends string>(key: string, known: readonly T[]): T {
    const value = this.string(key);
    return known.find((one) => one === value) ?? this.#wrong("a word that is known here", key);
  }

  #wrong(wanted: string, key?: string): never {
    throw new ArtifactError(this.#section, `${key === undefined ? this.#what : `'${key}' of ${this.#what}`} is not ${wanted}`);
  }
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isInteger(value: Json | undefined, low: number, high: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= low && value <= high;
}

/** A shape of at most 8 sides of at least 1 whose product is at most `most`; its product, or null. */
export function elementsOf(value: Json | undefined, most: number): { shape: number[]; count: number } | null {
  if (!Array.isArray(value) || value.length > 8) return null;
  const shape: number[] = [];
  let count = 1;
  for (const side of value as readonly Json[]) {
    if (!isInteger(side, 1, 2 ** 31 - 1)) return null;
    shape.push(side);
    count *= side; // at most 2^248 as a double: no overflow, and too much is seen
  }
  return count <= most ? { shape, count } : null;
}

/** UTF-8 JSON. Raises ArtifactError. */
export function parseJson(bytes: Uint8Array): Json {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)) as Json;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError) {
      throw new ArtifactError("header", `it cannot be read: ${error.message}`);
    }
    throw error;
  }
}
