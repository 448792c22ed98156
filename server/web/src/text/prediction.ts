// Predicted figures as people read them: never so that they look measured.

import type { Basis, Bound, Layer, Measured, Totals } from "../api/prediction";
import { ABSENT, ago, bytes, micros, part, plural, ratio, short } from "./format";

export const BOUNDS: readonly { id: Bound; text: string }[] = [
  { id: "compute", text: "compute-bound" },
  { id: "memory", text: "memory-bound" },
  { id: "overhead", text: "overhead of the call" },
];
export const boundWord = (bound: Bound) => BOUNDS.find((each) => each.id === bound)!.text;

/** "≈ 18.8 ms": a figure that nobody measured. */
export const about = (text: string) => (text === ABSENT ? text : `≈ ${text}`);

/** "calibrated on 3 devices (±8 %)" */
export const basisWords = (words: string) => words.replace("+-", "±");
const BASIS: Record<Basis, string> = { datasheet: "datasheet", calibration: "calibrated", measurement: "measured" };
export const basisWord = (basis: Basis) => BASIS[basis];

export const latencyRange = (totals: Pick<Totals, "low_us" | "high_us">) => `${micros(totals.low_us)} to ${micros(totals.high_us)}`;

/** How the prediction compares with what devices say: "predicted ≈ 18.8 ms, 8 % above". */
export function against(predicted: string, ratio: number | null): string {
  if (ratio === null) return `predicted ${about(predicted)}`;
  return `predicted ${about(predicted)}, ${offBy(ratio)}`;
}

export function offBy(ratio: number): string {
  const change = ratio - 1;
  if (Math.abs(change) < 0.005) return "the same";
  if (ratio >= 2) return `${short(ratio)} times as much`;
  if (ratio <= 0.5) return `${short(1 / ratio)} times too little`;
  return `${Math.round(Math.abs(change) * 100)} % ${change > 0 ? "above" : "below"}`;
}

/** From before to after, both predicted in the same way: "2.2× faster", "5 % smaller". */
export function changeWords(from: number, to: number, better: string, worse: string): string {
  const times = from > to ? from / to : to / from;
  if (times < 1.005) return "the same";
  const size = times < 1.2 ? `${Math.round(100 * Math.abs(1 - to / from))} %` : ratio(times);
  return `${size} ${from > to ? better : worse}`;
}

export function measuredWords(measured: Measured, now: number): string {
  const throttled = measured.throttled_devices > 0 ? `, ${plural(measured.throttled_devices, "device")} throttled` : "";
  return `${measured.words}, ${ago(measured.until_at, now)}${throttled}`;
}

/** Of a layer that one looks at. */
export function layerWords(layer: Layer): string {
  const words = [`${layer.name}: ${about(micros(layer.latency_us))}, ${part(layer.share)} of the time, ${boundWord(layer.bound)}`];
  if (layer.operations > 0) words.push(`${short(layer.operations_per_byte)} operations a byte, ${gops(layer.operations_per_us)}`);
  else words.push(`only moves ${bytes(layer.bytes)}`);
  words.push(layer.kind + (layer.known ? "" : ", a kind that no device has timed"));
  return `${words.join("; ")}.`;
}

export const gops = (operations_per_us: number) => `${short(operations_per_us / 1000)} Gop/s`;
