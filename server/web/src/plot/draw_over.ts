// What a chart shows besides its lines: limits and zones across, spans of time, moments.

import type uPlot from "uplot";
import type { Tone } from "../text/words";

export interface Mark {
  at: number; // Unix ms
  label: string; // a few characters
}

/** A value worth a line across: a limit, a threshold. The axis reaches it. */
export interface Level {
  value: number;
  label: string;
  tone: Tone;
}

/** Values between which something is so: PSI between 0.1 and 0.25. `high` null: without end. */
export interface Zone {
  low: number;
  high: number | null;
  tone: Tone;
  label?: string;
}

/** A time in which something was so: throttled, an alert firing. `to` null: still. */
export interface Span {
  from: number;
  to: number | null;
  tone: Tone;
}

export interface Over {
  from: number;
  to: number;
  levels: readonly Level[];
  zones: readonly Zone[];
  spans: readonly Span[];
  marks: readonly Mark[];
}

const ratioOf = (u: uPlot) => u.bbox.width / Math.max(1, u.over.clientWidth);
const toneOf = (style: CSSStyleDeclaration, tone: Tone) => style.getPropertyValue(`--${tone}`).trim();

/** Below the lines: zones and spans, pale. */
export function drawUnder(u: uPlot, view: Over, style: CSSStyleDeclaration): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.globalAlpha = 0.12;
  for (const zone of view.zones) {
    const top = zone.high === null ? bbox.top : u.valToPos(zone.high, "y", true);
    const bottom = u.valToPos(zone.low, "y", true);
    ctx.fillStyle = toneOf(style, zone.tone);
    ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
  }
  for (const span of view.spans) {
    const left = u.valToPos(span.from / 1000, "x", true);
    const right = span.to === null ? bbox.left + bbox.width : u.valToPos(span.to / 1000, "x", true);
    ctx.fillStyle = toneOf(style, span.tone);
    ctx.fillRect(left, bbox.top, Math.max(right - left, 1), bbox.height);
  }
  ctx.restore();
}

/** Above the lines: levels and moments. */
export function drawOver(u: uPlot, view: Over, style: CSSStyleDeclaration): void {
  const { ctx, bbox } = u;
  const ratio = ratioOf(u);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
  ctx.clip();
  ctx.textBaseline = "alphabetic";
  ctx.font = `${11 * ratio}px ${style.fontFamily}`;
  ctx.lineWidth = 1.5 * ratio;
  let written = -Infinity; // where the last label on the left was
  for (const level of [...view.levels].sort((a, b) => b.value - a.value)) {
    const y = u.valToPos(level.value, "y", true);
    ctx.strokeStyle = ctx.fillStyle = toneOf(style, level.tone);
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
    const label = y - bbox.top < 16 * ratio ? y + 12 * ratio : y - 4 * ratio; // no room above: under its line
    const near = label - written < 13 * ratio; // two close levels: the lower one is named on the right
    if (!near) written = label;
    ctx.textAlign = near ? "right" : "left";
    ctx.fillText(level.label, near ? bbox.left + bbox.width - 4 * ratio : bbox.left + 4 * ratio, label);
  }
  ctx.textAlign = "right";
  for (const zone of view.zones) {
    if (!zone.label) continue;
    const y = u.valToPos(zone.low, "y", true);
    if (y - bbox.top < 12 * ratio || y > bbox.top + bbox.height) continue;
    ctx.fillStyle = toneOf(style, zone.tone);
    ctx.fillText(zone.label, bbox.left + bbox.width - 4 * ratio, y - 4 * ratio);
  }
  ctx.strokeStyle = ctx.fillStyle = style.getPropertyValue("--muted");
  ctx.lineWidth = ratio;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  ctx.textAlign = "center";
  const near = 14 * ratio; // labels closer than this are written as one: "2-4"
  const groups: { x: number; first: string; last: string }[] = [];
  for (const mark of view.marks) {
    const x = u.valToPos(mark.at / 1000, "x", true);
    const group = groups[groups.length - 1];
    if (group && x - group.x < near) group.last = mark.label;
    else groups.push({ x, first: mark.label, last: mark.label });
    stroke(ctx, x, bbox.top + 14 * ratio, x, bbox.top + bbox.height);
  }
  for (const { x, first, last } of groups) ctx.fillText(first === last ? first : `${first}-${last}`, x, bbox.top + 11 * ratio);
  ctx.restore();
}

function stroke(ctx: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}
