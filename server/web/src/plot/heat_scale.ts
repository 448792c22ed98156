// Colours of a heat map: seven classes whose lightness only rises or only falls, so that every kind of colour vision
// and a grey print see the same order. High is far from the ground: dark on light, light on dark.

const LIGHT = ["#f2e6c9", "#f7cb8d", "#f0a05c", "#dd6f4e", "#b8425c", "#82266b", "#42105c"] as const;
const DARK = ["#2c3350", "#51356f", "#84397a", "#b94873", "#e2665b", "#f5994a", "#fbe27a"] as const;

export const CLASSES = LIGHT.length;
export const heatColor = (of: number, dark: boolean): string => (dark ? DARK : LIGHT)[of]!;

/** Upper bounds of the classes but the last, ascending. */
export type Bounds = readonly number[];

/**
 * Bounds between the 2nd and the 98th percentile, in equal steps, or in equal factors where the values spread over
 * more than a decade; round enough to be read. Null where nothing was measured.
 */
export function boundsOf(values: readonly (number | null)[]): Bounds | null {
  const sorted = Float64Array.from(values.filter((value): value is number => value !== null && Number.isFinite(value))).sort();
  if (sorted.length === 0) return null;
  const low = quantile(sorted, 0.02);
  const high = quantile(sorted, 0.98);
  const steps = CLASSES - 1;
  if (low > 0 && high / low > 10) {
    const factor = (high / low) ** (1 / steps);
    return distinct(Array.from({ length: steps }, (_, i) => low * factor ** (i + 0.5)));
  }
  const room = high - low || Math.abs(high) * 0.1 || 1; // all alike: the middle class
  const start = high - low ? low : high - room / 2;
  return distinct(Array.from({ length: steps }, (_, i) => start + (room / steps) * (i + 0.5)));
}

/** As few digits as keep the bounds apart. */
function distinct(bounds: number[]): number[] {
  for (let digits = 2; digits < 6; digits++) {
    const round = bounds.map((bound) => Number(bound.toPrecision(digits)));
    if (round.every((bound, i) => i === 0 || bound > round[i - 1]!)) return round;
  }
  return bounds;
}

/** How many times the usual of its group; fixed, so that colours mean the same every day. */
export const RATIO_BOUNDS: Bounds = [0.8, 1.1, 1.3, 1.6, 2.2, 4];

export function classOf(value: number, bounds: Bounds): number {
  let of = 0;
  while (of < bounds.length && value > bounds[of]!) of++;
  return of;
}

export function median(values: readonly (number | null)[]): number | null {
  const sorted = Float64Array.from(values.filter((value): value is number => value !== null)).sort();
  return sorted.length === 0 ? null : quantile(sorted, 0.5);
}

/** Each value as a multiple of its group's median; null where either is unknown or the median is zero. */
export function againstGroup(values: readonly (number | null)[], groups: readonly (readonly number[])[]): (number | null)[] {
  const out: (number | null)[] = new Array<number | null>(values.length).fill(null);
  for (const cells of groups) {
    const usual = median(cells.map((i) => values[i] ?? null));
    if (usual === null || usual <= 0) continue;
    for (const i of cells) {
      const value = values[i] ?? null;
      if (value !== null) out[i] = value / usual;
    }
  }
  return out;
}

function quantile(sorted: Float64Array, q: number): number {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.min(sorted.length - 1, low + 1);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}
