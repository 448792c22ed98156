// What happened when, beside what was measured: releases, rollouts' stages, alerts. Near ones share one flag.

import type { Tone } from "../text/words";

export interface Annotation {
  at: number; // Unix ms
  label: string; // a short sentence: "digits release 7"
  kind: string; // release, rollout, enrolment, alert, finding, ...
  href?: string | null | undefined;
}

export interface Flag {
  x: number; // share of the width, 0..1
  items: readonly Annotation[]; // ascending in time
  roomPx: number; // free to the right, up to the next flag or the edge
}

const NEAR_PX = 22; // a flag with a count is this wide

/** Those between `from` and `to`; one that would cover the flag before it joins that flag. */
export function flags(all: readonly Annotation[], from: number, to: number, widthPx: number): Flag[] {
  if (to <= from || widthPx <= 0) return [];
  const seen = all.filter((each) => each.at >= from && each.at <= to).sort((a, b) => a.at - b.at);
  const made: { x: number; items: Annotation[]; roomPx: number }[] = [];
  for (const each of seen) {
    const x = (each.at - from) / (to - from);
    const before = made[made.length - 1];
    if (before && (x - before.x) * widthPx < NEAR_PX) before.items.push(each);
    else made.push({ x, items: [each], roomPx: 0 });
  }
  made.forEach((flag, i) => {
    flag.roomPx = Math.max(0, ((made[i + 1]?.x ?? 1) - flag.x) * widthPx);
  });
  return made;
}

const TONES: Record<string, Tone> = { alert: "bad", finding: "warn", release: "busy", rollout: "busy" };
export const annotationTone = (kind: string): Tone => TONES[kind] ?? "idle";

/** The tone of a flag: that of the gravest thing under it. */
export function flagTone(items: readonly Annotation[]): Tone {
  const order: Tone[] = ["bad", "warn", "busy", "idle"];
  return order.find((tone) => items.some((each) => annotationTone(each.kind) === tone)) ?? "idle";
}
