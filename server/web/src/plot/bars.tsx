// Before and after, drawn in plain elements: they scale, print, and are read as text.

import type { Interval } from "./report";
import { place, type Scale } from "./scale";

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
