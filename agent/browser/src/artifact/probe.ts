import { ArtifactError } from "./error.ts";
import { elementsOf, Fields, isInteger, type Json } from "./json.ts";

const ITEM_BYTES = { float32: 4, float64: 8, float16: 2, int64: 8, int32: 4, uint8: 1, int8: 1, bool: 1 } as const;
const KINDS = ["uniform", "normal", "tokens"] as const;
const LIMITS: Readonly<Record<string, readonly [low: number, high: number]>> = {
  int64: [-(2 ** 63), 2 ** 63 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint8: [0, 255],
  int8: [-128, 127],
};
const POSITIONS_MAX = 64;
const INPUTS_MAX_BYTES = 256 << 20;
const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127;
const FLOAT16_MAX = 65504;

export interface ProbeInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: keyof typeof ITEM_BYTES;
  readonly kind: (typeof KINDS)[number];
  readonly low: number;
  readonly high: number;
}

export interface ProbeOutput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly positions: readonly number[];
  readonly values: readonly number[];
}

/** What a device runs to see that its runtime computes the right thing. */
export interface Probe {
  readonly seed: number;
  readonly inputs: readonly ProbeInput[];
  readonly outputs: readonly ProbeOutput[];
  readonly rtol: number;
  readonly atol: number;
}

/** The probe of a header, checked. Raises ArtifactError. */
export function readProbe(value: Json | undefined): Probe {
  const fields = new Fields("probe", "the probe", value, ["seed", "inputs", "outputs", "rtol", "atol"]);
  const probe = {
    seed: fields.integer("seed", 0, 2 ** 32 - 1),
    inputs: fields.array("inputs").map(readInput),
    outputs: fields.array("outputs").map(readOutput),
    rtol: fields.number("rtol"),
    atol: fields.number("atol"),
  };
  if (probe.rtol < 0 || probe.atol < 0) throw wrong("rtol and atol must be finite and not negative");
  const bytes = probe.inputs.reduce((sum, { shape, dtype }) => sum + shape.reduce((a, b) => a * b, 1) * ITEM_BYTES[dtype], 0);
  if (bytes > INPUTS_MAX_BYTES) throw wrong(`its inputs need more than ${INPUTS_MAX_BYTES >> 20} MiB`);
  for (const group of [probe.inputs, probe.outputs]) {
    if (new Set(group.map(({ name }) => name)).size !== group.length) throw wrong("a name appears twice");
  }
  return probe;
}

function readInput(value: Json): ProbeInput {
  const fields = new Fields("probe", "an input", value, ["name", "shape", "dtype", "kind", "low", "high"]);
  const name = fields.string("name");
  const { shape } = elementsOf(fields.value("shape"), Infinity) ?? noShape(name);
  const dtype = fields.strings("dtype", Object.keys(ITEM_BYTES) as (keyof typeof ITEM_BYTES)[]);
  const kind = fields.strings("kind", KINDS);
  const low = fields.number("low");
  const high = fields.number("high");
  const limit = dtype === "float16" ? FLOAT16_MAX : FLOAT32_MAX;
  const whole = isInteger(low, 1 - 2 ** 31, 2 ** 31 - 1) && isInteger(high, 1 - 2 ** 31, 2 ** 31 - 1);
  const [least, most] = LIMITS[dtype] ?? [-limit, limit];
  if (low > high || low < least || high > most || Math.max(-low, high) > limit || (kind === "tokens" && !whole)) {
    throw wrong(`input '${name}' has the range ${low} to ${high}`);
  }
  return { name, shape, dtype, kind, low, high };
}

function readOutput(value: Json): ProbeOutput {
  const fields = new Fields("probe", "an output", value, ["name", "shape", "positions", "values"]);
  const name = fields.string("name");
  const { shape, count } = elementsOf(fields.value("shape"), Infinity) ?? noShape(name);
  const positions = fields.array("positions");
  const values = fields.array("values");
  if (positions.length !== values.length || positions.length > POSITIONS_MAX) {
    throw wrong(`output '${name}' needs one value a position, at most ${POSITIONS_MAX}`);
  }
  return {
    name,
    shape,
    positions: positions.map((position) => {
      if (!isInteger(position, 0, Math.min(count, Number.MAX_SAFE_INTEGER) - 1)) throw wrong(`output '${name}' has a position outside its shape`);
      return position;
    }),
    values: values.map((one) => {
      if (typeof one !== "number" || !(Math.abs(one) <= FLOAT32_MAX)) throw wrong(`output '${name}' has a value that is not finite in float32`);
      return one;
    }),
  };
}

function noShape(name: string): never {
  throw wrong(`'${name}' has a shape that is not possible`);
}

function wrong(reason: string): ArtifactError {
  return new ArtifactError("probe", reason);
}
