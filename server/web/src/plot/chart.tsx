// A live time chart on uPlot: a figure with a title, a legend that reads the cursor, and a summary in words.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { ABSENT, ticks, time } from "../text/format";
import { useDark } from "../ui/theme";
import { lineColor, lineDash } from "./colors";
import { type Line, onGrid, summarize } from "./series";

export interface ChartLine {
  label: string;
  line: Line;
}

export interface Mark {
  at: number; // Unix ms
  label: string; // a few characters
}

interface ChartProps {
  title: string;
  note?: string | null | undefined; // beside the title: how a power figure came about
  lines: readonly ChartLine[];
  format: (value: number | null) => string;
  rangeMs: number;
  stepMs: number;
  now: number;
  zero?: boolean; // the axis starts at zero
  loading?: boolean;
  testid?: string;
  absent?: string | undefined; // why there is nothing to draw
  height?: number;
  fit?: boolean; // a history shorter than the range fills the width, from a minute on
  limit?: number | undefined; // a value not to be passed: a dashed line across
  marks?: readonly Mark[]; // moments, upright lines with their label
  compact?: boolean; // many lines: the extents only for screen readers
}

const cursorGroup = uPlot.sync("edgepress");

interface View {
  from: number;
  to: number;
  format: (value: number | null) => string;
  limit: number | undefined;
  marks: readonly Mark[];
}

/** The limit and the moments, over the lines. */
function drawOver(u: uPlot, view: View, style: CSSStyleDeclaration) {
  const { ctx, bbox } = u;
  const ratio = bbox.width / Math.max(1, u.over.clientWidth);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
  ctx.clip();
  ctx.textBaseline = "alphabetic";
  ctx.font = `${11 * ratio}px ${style.fontFamily}`;
  ctx.lineWidth = 1.5 * ratio;
  if (view.limit !== undefined) {
    const y = u.valToPos(view.limit, "y", true);
    ctx.strokeStyle = ctx.fillStyle = style.getPropertyValue("--bad");
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
    ctx.textAlign = "left";
    ctx.fillText(`budget ${view.format(view.limit)}`, bbox.left + 4 * ratio, y - 4 * ratio);
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

/** Index of the first x at which some line has a value. */
function firstUsed(y: readonly (readonly (number | null | undefined)[])[]): number {
  const firsts = y.map((values) => values.findIndex((value) => typeof value === "number")).filter((i) => i >= 0);
  return firsts.length === 0 ? -1 : Math.min(...firsts);
}

export function Chart(props: ChartProps) {
  const { title, note, lines, format, rangeMs, stepMs, now, testid } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const view = useRef<View>({ from: now - rangeMs, to: now, format, limit: props.limit, marks: props.marks ?? [] });
  const grid = useMemo(() => onGrid(lines.map((each) => each.line), stepMs), [lines, stepMs]);
  const oldest = grid.x[firstUsed(grid.y)];
  const from = props.fit && oldest !== undefined ? Math.max(now - rangeMs, Math.min(oldest * 1000, now - 60_000)) : now - rangeMs;
  view.current = { from, to: now, format, limit: props.limit, marks: props.marks ?? [] };
  const dark = useDark();
  const [at, setAt] = useState<number | null>(null); // index under the cursor
  const labels = lines.map((each) => each.label).join("\n");
  const drawable = grid.y.some((values) => values.some((value) => typeof value === "number"));
  const height = props.height ?? 168;

  useEffect(() => {
    const element = box.current;
    if (!element || !drawable) return;
    const style = getComputedStyle(element);
    const ink = style.getPropertyValue("--muted");
    const rule = style.getPropertyValue("--rule");
    const font = `11px ${style.fontFamily}`;
    const made = new uPlot(
      {
        width: Math.max(element.clientWidth, 120),
        height,
        legend: { show: false },
        padding: [8, 8, 0, 0],
        cursor: {
          y: false,
          sync: { key: cursorGroup.key },
          drag: { x: false, y: false },
          points: { size: 6 },
        },
        scales: {
          x: { time: true, range: () => [view.current.from / 1000, view.current.to / 1000] },
          y: {
            range: (_, low, high) => {
              if (low === null || high === null) return [0, 1];
              const limit = view.current.limit;
              if (limit !== undefined) [low, high] = [Math.min(low, limit), Math.max(high, limit)];
              const room = Math.max((high - low) * 0.12, Math.abs(high) * 0.02, 1e-9);
              return [props.zero ? 0 : Math.max(0, low - room), high + room];
            },
          },
        },
        axes: [
          {
            stroke: ink,
            font,
            grid: { stroke: rule, width: 1 },
            ticks: { show: false },
            space: 64,
            size: 24,
            values: (_, splits, __, ___, gap) => ticks(splits.map((s) => s * 1000), gap * 1000),
          },
          {
            stroke: ink,
            font,
            grid: { stroke: rule, width: 1 },
            ticks: { show: false },
            size: 62,
            space: 34,
            values: (_, splits) => splits.map((value) => view.current.format(value)),
          },
        ],
        series: [
          {},
          ...lines.map((each, i) => ({
            label: each.label,
            stroke: lineColor(i, dark),
            width: 1.5,
            points: { show: false },
            ...(lineDash(i) ? { dash: lineDash(i)! } : {}),
          })),
        ],
        hooks: {
          setCursor: [(u) => setAt(u.cursor.idx ?? null)],
          draw: [(u) => drawOver(u, view.current, style)],
        },
      },
      [grid.x, ...grid.y],
      element,
    );
    plot.current = made;
    cursorGroup.sub(made);
    const resized = new ResizeObserver(() => {
      const width = Math.max(element.clientWidth, 120);
      if (width !== made.width) made.setSize({ width, height });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      cursorGroup.unsub(made);
      made.destroy();
      plot.current = null;
    };
  }, [labels, dark, drawable, height]);

  useEffect(() => {
    plot.current?.setData([grid.x, ...grid.y]);
  }, [grid]);
  useEffect(() => {
    plot.current?.redraw(false, true);
    plot.current?.setScale("x", { min: from / 1000, max: now / 1000 });
  }, [now, from]);

  const marked = [props.limit, ...(props.marks ?? []).flatMap((mark) => [mark.at, mark.label])].join("\n");
  useEffect(() => plot.current?.redraw(false), [marked]);

  const summaries = lines.map((each) => summarize(each.line));
  const instant = at === null ? undefined : grid.x[at];
  return (
    <figure class="chart" data-testid={testid}>
      <figcaption>
        <span class="chart-title">
          {title}
          {note && <em class="method">{note}</em>}
        </span>
        <span class="chart-when" aria-hidden="true">
          {instant === undefined ? "" : time(instant * 1000)}
        </span>
      </figcaption>
      {drawable ? (
        <div class="plot" ref={box} style={{ minHeight: `${height}px` }} aria-hidden="true" />
      ) : (
        <p class="plot none" style={{ minHeight: `${height}px` }}>
          {props.loading ? "Loading" : (props.absent ?? "Nothing was reported in this time.")}
        </p>
      )}
      {drawable && <ul class={lines.length > 2 ? "legend many" : "legend"}>
        {lines.map((each, i) => {
          const sum = summaries[i] ?? null;
          const hovered = at === null ? undefined : grid.y[i]?.[at];
          return (
            <li key={each.label}>
              <span
                class={`key ${lineDash(i) ? "dashed" : ""}`}
                style={{ "--key": lineColor(i, dark) }}
                aria-hidden="true"
              />
              <span class="label">{each.label}</span>
              <b>{typeof hovered === "number" ? format(hovered) : sum ? format(sum.last) : ABSENT}</b>
              {sum && at === null && (
                <span class={props.compact ? "visually-hidden" : "extent"}>
                  {format(sum.low)} to {format(sum.high)}
                </span>
              )}
            </li>
          );
        })}
      </ul>}
    </figure>
  );
}
