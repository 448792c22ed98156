// Which artifacts leave nothing to be wished for by the others, and where dots and their names stand in a plot.

import type { ArtifactSummary } from "../api/types";
import { readReport } from "./report";

/** The split's name where a search judged an artifact by rows that it held out of the training split. */
export const SELECTION = "selection";

export interface Point {
  digest: string;
  name: string;
  bytes: number;
  latency_us: number | null;
  accuracy: number | null; // share 0..1
  low: number | null; // its 95 % confidence interval
  high: number | null;
}

/** One point an artifact, named by its recipe, and by its profile where there are several. */
export function points(artifacts: readonly ArtifactSummary[]): Point[] {
  const profiles = new Set(artifacts.map((each) => each.profile));
  return artifacts.map((each) => {
    const report = readReport(each.report);
    // Rows that a search chose by are not those that test: shares of the two do not compare.
    const after = report.accuracy.split === SELECTION ? null : report.accuracy.after;
    return {
      digest: each.digest,
      name: profiles.size > 1 ? `${each.recipe}, ${each.profile}` : each.recipe,
      bytes: each.bytes,
      latency_us: report.latency.after?.p50_us ?? null,
      accuracy: after?.value ?? null,
      low: after?.low ?? null,
      high: after?.high ?? null,
    };
  });
}

/** Digests of those that another matches in cost and accuracy and beats in one of them. */
export function dominated(all: readonly Point[], cost: (point: Point) => number | null): Set<string> {
  const known = all.flatMap((point) => {
    const [own, share] = [cost(point), point.accuracy];
    return own === null || share === null ? [] : [{ digest: point.digest, own, share }];
  });
  return new Set(
    known
      .filter((point) =>
        known.some(
          (other) =>
            other.own <= point.own && other.share >= point.share && (other.own < point.own || other.share > point.share),
        ),
      )
      .map((point) => point.digest),
  );
}

export interface Axis {
  low: number;
  high: number;
  log: boolean;
}

/** A little room around values; logarithmic ones must be positive. */
export function axisAround(values: readonly number[], log: boolean): Axis {
  if (values.length === 0) return { low: log ? 1 : 0, high: log ? 10 : 1, log };
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) {
    const room = Math.max((high / low) ** 0.08, 1.15);
    return { low: low / room, high: high * room, log };
  }
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.005, 1e-9);
  return { low: low - room, high: high + room, log };
}

/** 0..100 from low to high. */
export function placeOn(axis: Axis, value: number): number {
  const at = (x: number) => (axis.log ? Math.log10(Math.max(x, 1e-12)) : x);
  return Math.round(((at(value) - at(axis.low)) / (at(axis.high) - at(axis.low))) * 10000) / 100;
}

const WANTED = 5; // ticks

export function axisTicks(axis: Axis): number[] {
  if (axis.log) {
    for (const factors of [[1, 2, 5], [1, 3], [1]]) {
      const found: number[] = [];
      for (let power = Math.floor(Math.log10(axis.low)); power <= Math.ceil(Math.log10(axis.high)); power++) {
        found.push(...factors.map((factor) => factor * 10 ** power).filter((x) => x >= axis.low && x <= axis.high));
      }
      if (found.length > 1 && found.length <= WANTED + 1) return found;
      if (factors.length === 1 && found.length > 1) return found.filter((_, i) => i % Math.ceil(found.length / WANTED) === 0);
    }
  }
  const rough = (axis.high - axis.low) / (WANTED - 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough * (1 - 1e-9)) ?? rough;
  const found: number[] = [];
  for (let n = Math.ceil(axis.low / step - 1e-9); n * step <= axis.high * (1 + 1e-9); n++) found.push(n * step);
  return found;
}

export interface Place {
  anchor: "start" | "end";
  dx: number; // pixels from the dot
  dy: number;
}

const [WIDTH, HEIGHT, LETTER, LINE] = [340, 260, 6.6, 14]; // pixels of a plot on a phone, and of its letters

/** Where each name stands: the first place beside its dot (percent) that no other dot or name takes. */
export function namePlaces(dots: readonly { left: number; top: number; name: string }[]): Place[] {
  type Box = readonly [number, number, number, number];
  const box = (left: number, top: number, dx: number, dy: number, width: number, height: number): Box => {
    const [x, y] = [(left / 100) * WIDTH + dx, (top / 100) * HEIGHT + dy];
    return [x - width / 2, x + width / 2, y - height / 2, y + height / 2];
  };
  const taken = dots.map(({ left, top }) => box(left, top, 0, 0, 12, 12));
  return dots.map(({ left, top, name }) => {
    const width = LETTER * name.length;
    const of = ({ anchor, dx, dy }: Place) =>
      box(left, top, dx + (anchor === "start" ? width : -width) / 2, dy - LINE / 3, width, LINE);
    const choices = [-6, 16, -20, 30, -34, 44, -48, 58].flatMap((dy): Place[] => [
      { anchor: "start", dx: 9, dy },
      { anchor: "end", dx: -9, dy },
    ]);
    const free = choices.find((each) => {
      const own = of(each);
      const inside = own[0] > -40 && own[1] < WIDTH + 10 && own[2] > -10 && own[3] < HEIGHT;
      return inside && !taken.some((b) => own[0] < b[1] && b[0] < own[1] && own[2] < b[3] && b[2] < own[3]);
    });
    const place = free ?? choices[0]!;
    taken.push(of(place));
    return place;
  });
}
