// Events as lines: the newest first, and what is said of many things at once said once.

import type { Change } from "../api/types";
import { type EventWords, eventWords } from "./events";

export interface ActivityLine {
  change: Change; // the newest of them
  words: EventWords;
  others: number; // further subjects of which the same is said
}

const NEAR_MS = 5 * 60_000;

export function grouped(events: readonly Change[]): ActivityLine[] {
  const lines: (ActivityLine & { subjects: Set<string>; oldest: number })[] = [];
  for (const change of [...events].sort((a, b) => b.id - a.id)) {
    const words = eventWords(change);
    if (words === null) continue;
    const same = lines.find(
      (each) =>
        each.change.kind === change.kind &&
        each.words.text === words.text &&
        each.change.actor === change.actor &&
        each.oldest - change.at <= NEAR_MS &&
        change.kind === "device",
    );
    if (same) {
      same.subjects.add(change.subject);
      same.others = same.subjects.size - 1;
      same.oldest = change.at;
    } else lines.push({ change, words, others: 0, subjects: new Set([change.subject]), oldest: change.at });
  }
  return lines;
}
