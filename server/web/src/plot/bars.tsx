// Before and after, drawn in plain elements: they scale, print, and are read as text.

import type { Interval } from "./report";
import { place, placeLog, type Scale } from "./scale";

interface BarProps {
  value: number | null;
  scale: Scale;
  text: string;
  kind: "before" | "after";
  mark?: number | null | undefined; // a second value on the same bar, e.g. p95 behind p50
}
export function Bar({ value, scale, text, kind, mark }: BarProps) {
  return (
    <div class={`bar ${kind}`}>
      <div class="bar-track" aria-hidden="true">
        {mark !== null && mark !== undefined && <div class="bar-mark" style={{ width: `${place(mark, scale)}%` }} />}
        {value !== null && <div class="bar-fill" style={{ width: `${place(value, scale)}%` }} />}
      </div>
      <span class="bar-text">{text}</span>
    </div>
  );
}

/** A length on the length of the whole that it is a part of. */
export function BarOf({ value, of, scale, text }: { value: number; of: number; scale: Scale; text: string }) {
  return (
    <div class="bar after">
      <div class="bar-track" aria-hidden="true">
        <div class="bar-whole" style={{ width: `${place(of, scale)}%` }} />
        <div class="bar-fill" style={{ width: `${place(value, scale)}%` }} />
      </div>
      <span class="bar-text">{text}</span>
    </div>
  );
}

interface DotProps {
  at: Interval | null;
  scale: Scale;
  text: string;
  kind: "before" | "after";
}
/** A value with its 95 % confidence interval. */
export function Dot({ at, scale, text, kind }: DotProps) {
  const low = at ? place(at.low ?? at.value, scale) : 0;
  const high = at ? place(at.high ?? at.value, scale) : 0;
  return (
    <div class={`bar ${kind}`}>
      <div class="dot-track" aria-hidden="true">
        {at && at.low !== null && <div class="dot-ci" style={{ left: `${low}%`, width: `${high - low}%` }} />}
        {at && <div class="dot-value" style={{ left: `${place(at.value, scale)}%` }} />}
      </div>
      <span class="bar-text">{text}</span>
    </div>
  );
}

interface StackProps {
  payload: number;
  side: number;
  scale: Scale;
  text: string;
}
/** What a coder wrote, and behind it the side information. */
export function Stack({ payload, side, scale, text }: StackProps) {
  return (
    <div class="bar after">
      <div class="bar-track stack-track" aria-hidden="true">
        <div class="bar-fill" style={{ width: `${place(payload, scale)}%` }} />
        {side > 0 && <div class="bar-side" style={{ width: `${place(side, scale)}%` }} />}
      </div>
      <span class="bar-text">{text}</span>
    </div>
  );
}

/** One step of a waterfall on a logarithmic scale: the same factor is the same length everywhere. */
export function Fall({ before, after, scale, text }: { before: number; after: number; scale: Scale; text: string }) {
  const [from, to] = [placeLog(before, scale), placeLog(after, scale)];
  return (
    <div class={`bar ${before === after ? "before" : "after"}`}>
      <div class="bar-track" aria-hidden="true">
        <div class="fall-level" style={{ width: `${Math.min(from, to)}%` }} />
        <div
          class={after > before ? "fall-step more" : "fall-step"}
          style={{ left: `${Math.min(from, to)}%`, width: `${Math.abs(from - to)}%` }}
        />
      </div>
      <span class="bar-text">{text}</span>
    </div>
  );
}
