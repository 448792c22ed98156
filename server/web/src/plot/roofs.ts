// Where layers and roofs stand in a roofline plot: operations a byte against operations a second, both logarithmic.
// (Williams, Waterman, Patterson 2009, "Roofline: an insightful visual performance model for multicore architectures")

import type { Bound, Layer, Roof } from "../api/prediction";
import type { Axis } from "./pareto";

export interface Dot {
  layer: Layer;
  x: number; // operations a byte
  y: number; // operations a microsecond
  radius: number; // px
}

export interface RoofLine {
  roof: Roof;
  from: { x: number; y: number };
  to: { x: number; y: number };
}

export interface RooflinePlot {
  x: Axis;
  y: Axis;
  roofs: RoofLine[];
  dots: Dot[]; // the slowest first: drawn in this order, small ones end up on top
  beside: Layer[]; // compute nothing: only in the table
}

const LEAST_RADIUS = 3;
const MOST_RADIUS = 13;
const MOST_DECADES = 6; // of an axis: what lies lower stands at its edge

/** `others`: layers of a second model in the same plot, which share the axes and the sizes. */
export function layOut(layers: readonly Layer[], roofs: readonly Roof[], others: readonly Layer[] = []): RooflinePlot {
  const computes = layers.filter(isOnPlot);
  const all = [...computes, ...others.filter(isOnPlot)];
  const peaks = roofs.filter((roof) => roof.what === "compute").map((roof) => roof.per_us);
  const rates = roofs.filter((roof) => roof.what === "memory").map((roof) => roof.per_us);
  const ridges = peaks.length > 0 && rates.length > 0 ? [Math.max(...peaks) / Math.min(...rates), Math.min(...peaks) / Math.max(...rates)] : [];
  const x = axis([...all.map((layer) => layer.operations_per_byte), ...ridges], 2);
  const y = axis([...all.map((layer) => layer.operations_per_us), ...peaks], 1.6);
  const slowest = Math.max(0, ...all.map((layer) => layer.latency_us));
  return {
    x,
    y,
    roofs: roofLines(roofs, x, y),
    dots: dots(computes, slowest),
    beside: layers.filter((layer) => !isOnPlot(layer)),
  };
}

export const isOnPlot = (layer: Layer) => layer.operations_per_byte > 0 && layer.operations_per_us > 0;

/** The area of a dot is its layer's time. */
export function dots(layers: readonly Layer[], slowest_us: number): Dot[] {
  return layers
    .filter(isOnPlot)
    .map((layer) => ({
      layer,
      x: layer.operations_per_byte,
      y: layer.operations_per_us,
      radius: Math.max(LEAST_RADIUS, MOST_RADIUS * Math.sqrt(slowest_us > 0 ? layer.latency_us / slowest_us : 0)),
    }))
    .sort((a, b) => b.layer.latency_us - a.layer.latency_us);
}

function axis(values: readonly number[], room: number): Axis {
  if (values.length === 0) return { low: 1, high: 10, log: true };
  const high = Math.max(...values) * room;
  return { low: Math.max(Math.min(...values) / room, high / 10 ** MOST_DECADES), high, log: true };
}

/**
 * A memory's roof climbs until it meets the highest peak of its basis; a peak's roof runs from where the fastest memory
 * of its basis reaches it to the right edge. What would lie outside of the axes is cut off or left out.
 */
export function roofLines(roofs: readonly Roof[], x: Axis, y: Axis): RoofLine[] {
  const lines: RoofLine[] = [];
  for (const basis of ["datasheet", "calibration"] as const) {
    const own = roofs.filter((roof) => roof.basis === basis);
    const peaks = own.filter((roof) => roof.what === "compute");
    const rates = own.filter((roof) => roof.what === "memory");
    const highest = Math.max(...peaks.map((roof) => roof.per_us), 0) || y.high;
    const fastest = Math.max(...rates.map((roof) => roof.per_us), 0);
    for (const roof of peaks) {
      const from = Math.max(x.low, fastest > 0 ? roof.per_us / fastest : x.low);
      if (from < x.high) lines.push({ roof, from: { x: from, y: roof.per_us }, to: { x: x.high, y: roof.per_us } });
    }
    for (const roof of rates) {
      const from = Math.max(x.low, y.low / roof.per_us);
      const to = Math.min(x.high, highest / roof.per_us);
      if (from < to) lines.push({ roof, from: { x: from, y: from * roof.per_us }, to: { x: to, y: to * roof.per_us } });
    }
  }
  return lines;
}

/** The share of the whole time by what it goes to, the overhead of calls included; sums to 1. */
export function sharesByBound(layers: readonly Layer[], overhead_us: number): Record<Bound, number> {
  const sums: Record<Bound, number> = { compute: 0, memory: 0, overhead: overhead_us };
  for (const layer of layers) sums[layer.bound] += layer.latency_us;
  const whole = sums.compute + sums.memory + sums.overhead || 1;
  return { compute: sums.compute / whole, memory: sums.memory / whole, overhead: sums.overhead / whole };
}
