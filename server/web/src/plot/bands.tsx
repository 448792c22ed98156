// Devices of a rollout over time, on uPlot: filled steps on each other, and the moments at which a stage changed.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { plural, ticks, time } from "../text/format";
import { useDark } from "../ui/theme";
import { type Band, type Bands, type StageMark, withRoom } from "./timeline";

const HEIGHT = 190;
const STEPS = uPlot.paths.stepped!({ align: 1 });

interface Props {
  of: Bands;
  marks: readonly StageMark[];
  testid?: string;
}

const long = (hex: string) => (/^#[0-9a-f]{3}$/i.test(hex) ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex);

/** A colour of the page, paler: opaque, because bands lie on each other. #rrggbb or #rgb, both. */
function mixed(of: string, on: string): string {
  const [color, ground] = [long(of), long(on)];
  const part = (hex: string, i: number) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  if (!/^#[0-9a-f]{6}$/i.test(color) || !/^#[0-9a-f]{6}$/i.test(ground)) return of;
  return "#" + [0, 1, 2].map((i) => Math.round(0.72 * part(color, i) + 0.28 * part(ground, i)).toString(16).padStart(2, "0")).join("");
}

function drawMarks(u: uPlot, marks: readonly StageMark[], style: CSSStyleDeclaration) {
  const { ctx, bbox } = u;
  const ratio = bbox.width / Math.max(1, u.over.clientWidth);
  ctx.save();
  ctx.font = `${11 * ratio}px ${style.fontFamily}`;
  ctx.lineWidth = ratio;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  ctx.strokeStyle = ctx.fillStyle = style.getPropertyValue("--muted");
  ctx.textAlign = "center";
  ctx.textBaseline = "alphabetic";
  const right = bbox.left + bbox.width;
  const placed = marks
    .map((mark) => ({ label: mark.label, line: u.valToPos(mark.at / 1000, "x", true), width: ctx.measureText(mark.label).width }))
    .filter((mark) => mark.line >= bbox.left - 1 && mark.line <= right + 1)
    // A label at the edge moves in, its line stays where it belongs.
    .map((mark) => ({ ...mark, x: Math.min(Math.max(mark.line, bbox.left + mark.width / 2), right - mark.width / 2) }));
  const shown = withRoom(placed, 6 * ratio);
  for (const mark of placed) {
    ctx.beginPath();
    ctx.moveTo(mark.line, bbox.top - 2 * ratio);
    ctx.lineTo(mark.line, bbox.top + bbox.height);
    ctx.stroke();
    if (shown.has(mark)) ctx.fillText(mark.label, mark.x, bbox.top - 6 * ratio);
  }
  ctx.restore();
}

export function BandChart({ of, marks, testid }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const seen = useRef(marks);
  seen.current = marks;
  const dark = useDark();
  const [at, setAt] = useState<number | null>(null);
  const keys = of.bands.map((band) => band.key).join(" ");
  // uPlot draws series in order: the highest first, so that lower ones cover its lower part.
  const layers = useMemo(() => [...of.bands].reverse(), [of]);
  const data = useMemo<uPlot.AlignedData>(() => [of.at.map((ms) => ms / 1000), ...layers.map((band) => band.top)], [of, layers]);

  useEffect(() => {
    const element = box.current;
    if (!element || layers.length === 0) return;
    const style = getComputedStyle(element);
    const ink = style.getPropertyValue("--muted");
    const rule = style.getPropertyValue("--rule");
    const font = `11px ${style.fontFamily}`;
    const surface = style.getPropertyValue("--surface").trim();
    const fill = (band: Band) => mixed(style.getPropertyValue(`--${band.tone === "idle" ? "edge" : band.tone}`).trim(), surface);
    const made = new uPlot(
      {
        width: Math.max(element.clientWidth, 120),
        height: HEIGHT,
        legend: { show: false },
        padding: [20, 8, 0, 0],
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: { x: { time: true }, y: { range: (_, __, high) => [0, Math.max(1, high ?? 1)] } },
        axes: [
          {
            stroke: ink,
            font,
            grid: { show: false },
            ticks: { show: false },
            space: 70,
            size: 24,
            values: (_, splits, __, ___, gap) => ticks(splits.map((s) => s * 1000), gap * 1000),
          },
          {
            stroke: ink,
            font,
            grid: { stroke: rule, width: 1 },
            ticks: { show: false },
            size: 46,
            space: 34,
            incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000],
            values: (_, splits) => splits.map((value) => value.toLocaleString("en-US")),
          },
        ],
        series: [
          {},
          ...layers.map((band) => ({
            label: band.label,
            stroke: style.getPropertyValue("--surface"),
            width: 1,
            fill: fill(band),
            paths: STEPS,
            points: { show: false },
          })),
        ],
        hooks: {
          setCursor: [(u) => setAt(u.cursor.idx ?? null)],
          draw: [(u) => drawMarks(u, seen.current, style)],
        },
      },
      data,
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => {
      const width = Math.max(element.clientWidth, 120);
      if (width !== made.width) made.setSize({ width, height: HEIGHT });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [keys, dark]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [data]);
  const marked = marks.map((mark) => `${mark.at}${mark.label}`).join(" ");
  useEffect(() => plot.current?.redraw(false), [marked]);

  if (layers.length === 0) return null;
  const index = at === null ? of.at.length - 1 : Math.min(at, of.at.length - 1);
  return (
    <figure class="chart bands" data-testid={testid}>
      <figcaption>
        <span class="chart-title">Devices over time</span>
        <span class="chart-when" aria-hidden="true">
          {at === null ? "" : time(of.at[index]!)}
        </span>
      </figcaption>
      <div class="plot" ref={box} style={{ minHeight: `${HEIGHT}px` }} aria-hidden="true" />
      <ul class="legend many">
        {of.bands.map((band) => (
          <li key={band.key}>
            <span class={`swatch ${band.tone}`} aria-hidden="true" />
            <span class="label">{band.label}</span>
            <b>{(band.values[index] ?? 0).toLocaleString("en-US")}</b>
          </li>
        ))}
      </ul>
      <p class="visually-hidden">
        Of {plural(of.total, "device")}: {of.bands.map((band) => `${band.values[of.at.length - 1] ?? 0} ${band.label}`).join(", ")}.
      </p>
    </figure>
  );
}
