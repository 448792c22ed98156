// Scales of the small bar plots.

export interface Scale {
  low: number;
  high: number;
}

/** 0 to a little more than the largest value. */
export function fromZero(values: readonly (number | null | undefined)[]): Scale {
  return { low: 0, high: Math.max(0, ...values.filter((value): value is number => typeof value === "number")) || 1 };
}

/**
 * A window around shares that lie close together: accuracies of 98.1 and 97.9 % would look the same from zero. It is at
 * least `least` wide, so that chance does not look like a cliff, and stays within 0..1.
 */
export function around(values: readonly (number | null | undefined)[], least: number): Scale {
  const some = values.filter((value): value is number => typeof value === "number");
  if (some.length === 0) return { low: 0, high: 1 };
  const middle = (Math.min(...some) + Math.max(...some)) / 2;
  const width = Math.max(least, (Math.max(...some) - Math.min(...some)) * 1.3);
  const low = Math.max(0, Math.min(middle - width / 2, 1 - width));
  return { low, high: Math.min(1, low + width) };
}

/** Where a value lies on a scale, in percent 0..100. */
export function place(value: number, scale: Scale): number {
  const share = (value - scale.low) / (scale.high - scale.low);
  return Math.round(Math.min(1, Math.max(0, share)) * 10000) / 100;
}

/** A logarithmic scale around positive values, half a power of ten of room below the smallest. */
export function logarithmic(values: readonly number[]): Scale {
  const some = values.filter((value) => value > 0).map(Math.log10);
  if (some.length === 0) return { low: 0, high: 1 };
  return { low: Math.min(...some) - 0.5, high: Math.max(...some) };
}

/** Where a value lies on a logarithmic scale, in percent 0..100. */
export const placeLog = (value: number, scale: Scale): number => (value > 0 ? place(Math.log10(value), scale) : 0);
