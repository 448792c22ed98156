// A stretch of time that a page shows: the last so long, growing, or between two moments. It lives in the address.

export interface Range {
  key: string; // of RANGES, or "custom"
  from: number; // Unix ms
  to: number; // Unix ms
  live: boolean; // its end is now
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const RANGES = [
  ["5m", "5 min", 5 * MINUTE],
  ["15m", "15 min", 15 * MINUTE],
  ["1h", "1 h", HOUR],
  ["6h", "6 h", 6 * HOUR],
  ["24h", "24 h", DAY],
  ["7d", "7 days", 7 * DAY],
  ["30d", "30 days", 30 * DAY],
  ["1y", "1 year", 365 * DAY],
] as const;

const SHORTEST = MINUTE;
const LONGEST = 2 * 366 * DAY; // hours are kept two years

/** What the address asks for: `last=6h`, or `from` and `to` in Unix ms; anything unreadable is `usual`. */
export function readRange(search: URLSearchParams, now: number, usual = "15m"): Range {
  const [from, to] = [moment(search.get("from")), moment(search.get("to"))];
  if (from !== null && to !== null && to - from >= SHORTEST && to - from <= LONGEST) {
    return { key: "custom", from, to, live: false };
  }
  const asked = search.get("last") ?? usual;
  const [key, , ms] = RANGES.find(([each]) => each === asked) ?? RANGES.find(([each]) => each === usual)!;
  return { key, from: now - ms, to: now, live: true };
}

function moment(text: string | null): number | null {
  if (text === null || !/^\d{1,15}$/.test(text)) return null;
  return Number(text);
}

/** The change of the address that shows the last `key`. */
export const lastOf = (key: string) => ({ last: key, from: null, to: null });
/** The change of the address that shows what lies between two moments. */
export const between = (from: number, to: number) => ({ last: null, from: String(Math.round(from)), to: String(Math.round(to)) });

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
const POINTS = 400;

/**
 * The step in ms of at most 400 points, and never finer than what is kept: samples of a range up to an hour, minutes
 * of up to two days, hours of what is longer.
 */
export function stepOf(from: number, to: number): number {
  const length = to - from;
  const kept = length > 2 * DAY ? 3600 : length > HOUR ? 60 : 1;
  const step = STEPS.find((each) => each >= kept && length / (each * 1000) <= POINTS);
  return (step ?? STEPS[STEPS.length - 1]!) * 1000;
}

/** How often a live range is worth another look, ms: no step is read more than a few times. */
export const everyOf = (stepMs: number) => Math.min(30_000, Math.max(1000, stepMs / 4));

/** For an input of type datetime-local: local time to the minute. */
export function localText(ms: number): string {
  const at = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** What is wrong with a range somebody typed; null where it can be shown. */
export function rangeProblem(from: number, to: number): string | null {
  if (!Number.isFinite(from) || !Number.isFinite(to)) return "Give both moments.";
  if (to - from < SHORTEST) return "The end must be at least a minute after the start.";
  if (to - from > LONGEST) return "At most two years: nothing older is kept.";
  return null;
}
