// How far a figure is from its usual, in words, and whether that is worth a colour.

import type { Tone } from "./words";

export interface Change {
  text: string; // "12 % above its day"
  tone: Tone;
}

const SAME = 0.03; // closer is the same
const WORTH = 0.25; // farther is worth a look

/** `more` says whether a higher value is worse, better, or neither. Null where one of the two is unknown. */
export function change(now: number | null | undefined, usual: number | null | undefined, more: "worse" | "better" | "neither"): Change | null {
  if (now === null || now === undefined || usual === null || usual === undefined || usual <= 0) return null;
  const off = now / usual - 1;
  if (Math.abs(off) < SAME) return { text: "as usual", tone: "idle" };
  const bad = more === "neither" ? false : more === "worse" ? off > WORTH : off < -WORTH;
  const tone: Tone = bad ? (more === "worse" && off > 1 ? "bad" : "warn") : "idle";
  const size = off >= 1 ? `${(off + 1).toFixed(off >= 9 ? 0 : 1)}× the usual` : `${Math.round(Math.abs(off) * 100)} % ${off > 0 ? "above" : "below"} usual`;
  return { text: size, tone };
}
