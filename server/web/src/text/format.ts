// Numbers as people read them. Absent is an en dash, never 0.

export const ABSENT = "–";
type Maybe = number | null | undefined;

/** At most three significant digits, and no trailing zeros: 1234 -> "1,234", 12.34 -> "12.3", 0.0123 -> "0.0123". */
export function short(value: Maybe): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return ABSENT;
  const size = Math.abs(value);
  if (size >= 999.5) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

function scaled(value: Maybe, steps: readonly (readonly [number, string])[]): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return ABSENT;
  const size = Math.abs(value);
  const last = steps[steps.length - 1]!;
  // 999.6 would print as 1000 of a unit: that belongs to the next larger one.
  const [factor, unit] = steps.find(([step]) => size >= step * 0.9995) ?? last;
  return `${short(value / factor)} ${unit}`;
}

const BYTES = [
  [1e12, "TB"],
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "KB"],
  [1, "B"],
] as const;
export const bytes = (value: Maybe) => (value === 0 ? "0 B" : scaled(value, BYTES));

const TIMES = [
  [1e6, "s"],
  [1e3, "ms"],
  [1, "µs"],
] as const;
export const micros = (value: Maybe) => (value === 0 ? "0 µs" : scaled(value, TIMES));

const COUNTS = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
] as const;
/** Parameters, multiply-accumulates: 61706 -> "61.7 k". */
export function count(value: Maybe): string {
  if (value === null || value === undefined) return ABSENT;
  return Math.abs(value) < 1000 ? short(value) : scaled(value, COUNTS);
}

const POWERS = [
  [1e6, "kW"],
  [1e3, "W"],
  [1, "mW"],
] as const;
export const watts = (milliwatts: Maybe) => (milliwatts === 0 ? "0 W" : scaled(milliwatts, POWERS));

const ENERGIES = [
  [1e3, "J"],
  [1, "mJ"],
  [1e-3, "µJ"],
] as const;
export const millijoules = (value: Maybe) => (value === 0 ? "0 mJ" : scaled(value, ENERGIES));
export const celsius = (value: Maybe) =>
  value === null || value === undefined ? ABSENT : `${value.toFixed(1)} °C`;
export const percent = (value: Maybe) => (value === null || value === undefined ? ABSENT : `${short(value)} %`);
/** A part of a whole, 0..1, in tenths of a percent; what is smaller says so. */
export const part = (share: Maybe) =>
  share === null || share === undefined ? ABSENT : share > 0 && share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
/** A share 0..1 as percent with two decimals: accuracies differ in the second. */
export const accuracy = (share: Maybe) =>
  share === null || share === undefined ? ABSENT : `${(share * 100).toFixed(2)} %`;
export const perSecond = (value: Maybe) =>
  value === null || value === undefined ? ABSENT : `${value === 0 ? "0" : short(value)}/s`;
export const ratio = (value: Maybe) =>
  value === null || value === undefined ? ABSENT : `${value >= 9.95 ? value.toFixed(0) : value.toFixed(1)}×`;

const UNITS: [number, string][] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1000, "s"],
];
/** A length of time in its largest unit: 95,000 -> "1 min". */
export function span(ms: number): string {
  const [size, unit] = UNITS.find(([step]) => ms >= step) ?? [1000, "s"];
  return `${Math.max(0, Math.floor(ms / size))} ${unit}`;
}

export function ago(then: Maybe, now: number): string {
  if (then === null || then === undefined) return "never";
  const ms = now - then;
  return ms < 5000 ? "just now" : `${span(ms)} ago`;
}

/** Rounded up, so that a code of 24 hours does not start with 23. */
export function until(then: number, now: number): string {
  if (then <= now) return "expired";
  const ms = then - now;
  const [size] = UNITS.find(([step]) => ms >= step) ?? [1000];
  return `in ${span(Math.ceil(ms / size) * size)}`;
}

/** How long something ran or runs: 83,000 -> "1:23". */
export function clock(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, i) => (i === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** How long a step took: tenths of a second below a minute, then a clock. */
export const seconds = (value: Maybe) =>
  value === null || value === undefined ? ABSENT : value < 59.95 ? `${value.toFixed(1)} s` : clock(value * 1000);

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
export const date = (ms: Maybe) => (ms === null || ms === undefined ? ABSENT : DATE.format(ms));
export const time = (ms: number) => TIME.format(ms);

/** Labels of a time axis: seconds only where ticks are closer than a minute, the day at each midnight. */
export function ticks(at: readonly number[], gapMs: number): string[] {
  return at.map((ms) => {
    const when = new Date(ms);
    if (gapMs >= 86_400_000 || (when.getHours() === 0 && when.getMinutes() === 0)) return DAY.format(ms);
    return gapMs < 60_000 ? TIME.format(ms) : HOUR.format(ms);
  });
}

export const plural = (n: number, one: string, many = one + "s") =>
  `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;
export const digest = (value: string | null | undefined) => (value ? value.slice(0, 10) : ABSENT);
export const shape = (dims: readonly (number | string | null)[]) =>
  dims.length === 0 ? "scalar" : dims.map((d) => (d === null ? "N" : String(d))).join(" × ");
