// A live time chart on uPlot: a figure with a title, a legend that reads the cursor, and a summary in words.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { ABSENT, date, ticks, time } from "../text/format";
import { useDark } from "../ui/theme";
import { type Annotation, flags } from "./annotations";
import { lineColor, lineDash } from "./colors";
import { drawOver, drawUnder, type Level, type Mark, type Over, type Span, type Zone } from "./draw_over";
import { FlagList, Flags } from "./flags";
import { type Line, lonely, onGrid, type Slot, summarize } from "./series";

export type { Level, Mark, Span, Zone } from "./draw_over";

export interface ChartLine {
  label: string;
  line: Line;
  of?: number | undefined; // index of the line that this one goes with: its colour, dashed (the time before, a control)
}

interface ChartProps {
  title: string;
  note?: string | null | undefined; // beside the title: how a power figure came about
  lines: readonly ChartLine[];
  format: (value: number | null) => string;
  rangeMs: number;
  stepMs: number;
  now: number; // right edge, Unix ms
  zero?: boolean; // the axis starts at zero
  loading?: boolean;
  testid?: string;
  absent?: string | undefined; // why there is nothing to draw
  height?: number;
  fit?: boolean; // a history shorter than the range fills the width, from a minute on
  limit?: number | undefined; // a budget not to be passed: a dashed line across
  levels?: readonly Level[] | undefined; // other values worth a line across
  zones?: readonly Zone[] | undefined; // values between which something is so
  spans?: readonly Span[] | undefined; // times in which something was so
  marks?: readonly Mark[] | undefined; // moments, upright lines with their label
  annotations?: readonly Annotation[] | undefined; // what happened when, as flags that lead there
  onZoom?: ((from: number, to: number) => void) | undefined; // a time was drawn with the mouse
  onZoomOut?: (() => void) | undefined; // double click
  compact?: boolean; // many lines: the extents only for screen readers
  holes?: number; // slots without a value that a line still joins over
}

const cursorGroup = uPlot.sync("edgepress");
const AXIS_PX = 62; // of the vertical axis; .flags in plots.css leaves the same
const RIGHT_PX = 16; // the label of the last tick has room; .flags leaves the same
const DRAG_PX = 8; // less is a click

/** Index of the first x at which some line has a value. */
function firstUsed(y: readonly (readonly (number | null | undefined)[])[]): number {
  const firsts = y.map((values) => values.findIndex((value) => typeof value === "number")).filter((i) => i >= 0);
  return firsts.length === 0 ? -1 : Math.min(...firsts);
}

export function Chart(props: ChartProps) {
  const { title, note, lines, format, rangeMs, stepMs, now, testid } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const grid = useMemo(() => onGrid(lines.map((each) => each.line), stepMs, props.holes), [lines, stepMs, props.holes]);
  const oldest = grid.x[firstUsed(grid.y)];
  const from = props.fit && oldest !== undefined ? Math.max(now - rangeMs, Math.min(oldest * 1000, now - 60_000)) : now - rangeMs;
  const view = useRef<View>(viewOf(props, from));
  view.current = viewOf(props, from);
  const zoom = useRef(props);
  zoom.current = props;
  const dark = useDark();
  const [at, setAt] = useState<number | null>(null); // index under the cursor
  const [width, setWidth] = useState(0);
  const labels = lines.map((each) => `${each.label} ${each.of ?? ""}`).join("\n");
  const drawable = grid.y.some((values) => values.some((value) => typeof value === "number"));
  const height = props.height ?? 168;
  const annotations = props.annotations;
  const flagged = annotations !== undefined && annotations.length > 0;
  const zoomable = props.onZoom !== undefined;

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
        padding: [flagged ? 22 : 8, RIGHT_PX, 0, 0],
        cursor: {
          y: false,
          // Only where the cursor is goes to the other charts: a range drawn on one is not drawn on all.
          sync: { key: cursorGroup.key, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
          drag: { x: zoomable, y: false, setScale: false, dist: DRAG_PX },
          bind: { dblclick: () => () => (zoom.current.onZoomOut?.(), null) },
          points: { size: 6 },
        },
        scales: {
          x: { time: true, range: () => [view.current.from / 1000, view.current.to / 1000] },
          y: { range: (_, low, high) => extent(low, high, view.current, props.zero ?? false) },
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
            size: AXIS_PX,
            space: 34,
            values: (_, splits) => splits.map((value) => view.current.format(value)),
          },
        ],
        series: [
          {},
          ...lines.map((each, i) => {
            const dash = each.of === undefined ? lineDash(i) : [3, 4];
            return {
              label: each.label,
              stroke: lineColor(each.of ?? i, dark),
              alpha: each.of === undefined ? 1 : 0.65,
              width: 1.5,
              points: { show: true, size: 4, filter: (u: uPlot, series: number) => lonely((u.data[series] ?? []) as Slot[]) },
              ...(dash ? { dash } : {}),
            };
          }),
        ],
        hooks: {
          setCursor: [(u) => setAt(u.cursor.idx ?? null)],
          setSelect: [
            (u) => {
              if (u.select.width < DRAG_PX) return;
              const [left, right] = [u.select.left, u.select.left + u.select.width].map((x) => Math.round(u.posToVal(x, "x") * 1000));
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              if (left !== undefined && right !== undefined) zoom.current.onZoom?.(left, right);
            },
          ],
          drawClear: [(u) => drawUnder(u, view.current, style)],
          draw: [(u) => drawOver(u, view.current, style)],
        },
      },
      [grid.x, ...grid.y],
      element,
    );
    plot.current = made;
    cursorGroup.sub(made);
    setWidth(element.clientWidth);
    const resized = new ResizeObserver(() => {
      const wide = Math.max(element.clientWidth, 120);
      setWidth(wide);
      if (wide !== made.width) made.setSize({ width: wide, height });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      cursorGroup.unsub(made);
      made.destroy();
      plot.current = null;
    };
  }, [labels, dark, drawable, height, flagged, zoomable, props.zero]);

  useEffect(() => {
    plot.current?.setData([grid.x, ...grid.y]);
  }, [grid]);
  useEffect(() => {
    plot.current?.redraw(false, true);
    plot.current?.setScale("x", { min: from / 1000, max: now / 1000 });
  }, [now, from]);

  const { levels, zones, spans, marks } = view.current;
  const over = JSON.stringify([levels, zones, spans, marks]);
  useEffect(() => {
    plot.current?.redraw(false);
    plot.current?.setScale("x", { min: view.current.from / 1000, max: view.current.to / 1000 }); // the axis reaches a new level
  }, [over]);

  const summaries = useMemo(() => lines.map((each) => summarize(each.line)), [lines]);
  const flagList = useMemo(() => flags(annotations ?? [], from, now, width - AXIS_PX - RIGHT_PX), [annotations, from, now, width]);
  const instant = at === null ? undefined : grid.x[at];
  return (
    <figure class="chart" data-testid={testid}>
      <figcaption>
        <span class="chart-title">
          {title}
          {note && <em class="method">{note}</em>}
        </span>
        <span class="chart-when" aria-hidden="true">
          {instant === undefined ? "" : rangeMs > 86_400_000 ? date(instant * 1000) : time(instant * 1000)}
        </span>
      </figcaption>
      {drawable ? (
        <div class="plot-box">
          <div class={zoomable ? "plot zoomable" : "plot"} ref={box} style={{ minHeight: `${height}px` }} aria-hidden="true" />
          {flagged && <Flags of={flagList} />}
        </div>
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
                class={`key ${each.of !== undefined || lineDash(i) ? "dashed" : ""}`}
                style={{ "--key": lineColor(each.of ?? i, dark) }}
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
      {drawable && flagged && <FlagList items={flagList.flatMap((flag) => flag.items)} />}
    </figure>
  );
}

interface View extends Over {
  format: (value: number | null) => string;
}

function viewOf({ now, format, limit, levels, zones, spans, marks }: ChartProps, from: number): View {
  const budget: Level[] = limit === undefined ? [] : [{ value: limit, label: `budget ${format(limit)}`, tone: "bad" }];
  return { from, to: now, format, levels: [...budget, ...(levels ?? [])], zones: zones ?? [], spans: spans ?? [], marks: marks ?? [] };
}

/** The vertical axis: all values and levels with room around, from zero where asked; never below zero without need. */
function extent(low: number | null, high: number | null, { levels }: View, zero: boolean): [number, number] {
  if (low === null || high === null) return [0, 1];
  const least = Math.min(low, ...levels.map((level) => level.value));
  const most = Math.max(high, ...levels.map((level) => level.value));
  if (least === 0 && most === 0) return [0, 1]; // nothing but zeros lies on the ground, not on a hair's breadth of axis
  const room = Math.max((most - least) * 0.12, Math.abs(most) * 0.02, 1e-9);
  return [zero && least >= 0 ? 0 : least >= 0 ? Math.max(0, least - room) : least - room, most + room];
}
