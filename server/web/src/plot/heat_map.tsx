// One cell a device on a canvas. Drawn at most once a frame, and only when something it shows has changed.
// The canvas is one stop of the Tab key; arrow keys move a cell at a time, Enter opens the device, and what the
// cell says is read aloud. The same figures are a sorted list on the devices page.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { plural } from "../text/format";
import { navigate } from "../ui/route";
import { useDark } from "../ui/theme";
import { cellAt, type HeatLayout, layOut, placeOf, type Spot, stepFrom } from "./heat_layout";
import { type Bounds, CLASSES, classOf, heatColor } from "./heat_scale";

export interface HeatCell {
  name: string;
  status: string; // o online, f offline, r registered
  value: number | null; // what is coloured
  measured: number | null; // what it stands for: the same, or what was compared
  problem: number; // 0 none, 1 warning, 2 critical
  group: string;
}

interface Props {
  cells: readonly HeatCell[];
  groups: readonly { name: string; cells: readonly number[]; title: string; note: string }[];
  bounds: Bounds | null;
  say: (cell: HeatCell) => string; // the figure of a cell, in words
  hrefOf: (cell: HeatCell) => string;
  label: string;
}

const NARROW = 560; // px; below, names stand above their cells
const STATUS: Record<string, string> = { o: "online", f: "offline", r: "not enrolled" };
const PROBLEM = ["", "warning", "critical"];

export function HeatMap({ cells, groups, bounds, say, hrefOf, label }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [spot, setSpot] = useState<Spot | null>(null); // under the pointer, or reached by keys
  const [byKeys, setByKeys] = useState(false);
  const dark = useDark();
  const narrow = width < NARROW;
  const shape = groups.map((group) => `${group.name} ${group.cells.length}`).join("\n");
  const layout = useMemo(
    () => layOut(groups, { width, height: narrow ? 460 : 340, names: narrow ? 0 : 200 }),
    [shape, width, narrow],
  );
  // The layout knows how many cells there are where; which device is in which place is today's.
  const cellOf = (at: Spot): HeatCell | undefined => cells[groups[at.group]?.cells[at.place] ?? -1];
  const cell = spot ? cellOf(spot) : undefined;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const read = () => setWidth(element.clientWidth);
    read();
    const resized = new ResizeObserver(read);
    resized.observe(element);
    return () => resized.disconnect();
  }, []);

  useEffect(() => {
    const frame = requestAnimationFrame(() => {
      if (canvas.current && width > 0) draw(canvas.current, { layout, cells, groups, bounds, dark, spot, byKeys, width });
    });
    return () => cancelAnimationFrame(frame);
  }, [layout, cells, groups, bounds, dark, spot, byKeys, width]);

  const under = (event: PointerEvent | MouseEvent): Spot | null => {
    const area = canvas.current!.getBoundingClientRect();
    return cellAt(layout, event.clientX - area.left, event.clientY - area.top);
  };
  const open = (at: Spot | null) => {
    const found = at && cellOf(at);
    if (found) navigate(hrefOf(found));
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Enter" && spot) return open(spot);
    if (event.key === "Escape") return setSpot(null);
    if (!/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key) || cells.length === 0) return;
    event.preventDefault();
    setByKeys(true);
    setSpot(spot ? stepFrom(layout, spot, event.key) : { group: 0, place: 0 });
  };

  return (
    <div class="heat" ref={box} data-testid="heat-map" data-cells={cells.length} data-pitch={layout.pitch}>
      {layout.groups.map((placed, i) => (
        <div class={`heat-name ${narrow ? "above" : ""}`} key={placed.name} style={{ top: `${placed.top}px` }}>
          <b>{groups[i]!.title}</b>
          <span>{groups[i]!.note}</span>
        </div>
      ))}
      <canvas
        ref={canvas}
        role="application"
        aria-roledescription="heat map"
        aria-label={`${label}. Arrow keys move from device to device, Enter opens one.`}
        tabIndex={0}
        style={{ width: `${width}px`, height: `${layout.height}px` }}
        onPointerMove={(event) => {
          if (event.pointerType === "touch") return;
          setByKeys(false);
          setSpot((old) => same(old, under(event)));
        }}
        onPointerLeave={(event) => event.pointerType !== "touch" && setSpot(null)}
        onClick={(event) => {
          const at = under(event);
          // A finger sees first what it touched; the second tap on the same cell opens it.
          const touched = (event as unknown as PointerEvent).pointerType === "touch";
          if (touched && !equal(at, spot)) setSpot(at);
          else open(at);
        }}
        onKeyDown={onKey}
        onFocus={() => setByKeys(canvas.current?.matches(":focus-visible") ?? false)}
        onBlur={() => setSpot(null)}
      />
      {spot && cell && <Tip layout={layout} spot={spot} cell={cell} width={width} said={say(cell)} />}
      <p class="visually-hidden" aria-live="polite">
        {byKeys && cell ? words(cell, say(cell)) : ""}
      </p>
    </div>
  );
}

const equal = (a: Spot | null, b: Spot | null) => a?.group === b?.group && a?.place === b?.place;
const same = (old: Spot | null, next: Spot | null) => (equal(old, next) ? old : next);

function words(cell: HeatCell, said: string): string {
  const problem = PROBLEM[cell.problem];
  return [cell.name, cell.group, STATUS[cell.status] ?? "", said, problem ? `${problem} problem` : ""].filter(Boolean).join(", ");
}

interface TipProps {
  layout: HeatLayout;
  spot: Spot;
  cell: HeatCell;
  width: number;
  said: string;
}
const TIP_WIDTH = 200;
function Tip({ layout, spot, cell, width, said }: TipProps) {
  const { x, y } = placeOf(layout, spot);
  const left = Math.max(0, Math.min(width - TIP_WIDTH, x + layout.size / 2 - TIP_WIDTH / 2));
  return (
    <div class="heat-tip" style={{ left: `${left}px`, top: `${y + layout.pitch + 6}px`, width: `${TIP_WIDTH}px` }} aria-hidden="true" data-testid="heat-tip">
      <b>{cell.name}</b>
      <span>{said}</span>
      <span class="sub">
        {STATUS[cell.status] ?? ""} · {cell.group}
      </span>
      {cell.problem > 0 && <span class={`heat-tip-problem ${cell.problem === 2 ? "bad" : "warn"}`}>{PROBLEM[cell.problem]} problem</span>}
      <span class="sub heat-tip-tap">Tap again to open it</span>
    </div>
  );
}

interface Scene {
  layout: HeatLayout;
  cells: readonly HeatCell[];
  groups: Props["groups"];
  bounds: Bounds | null;
  dark: boolean;
  spot: Spot | null;
  byKeys: boolean;
  width: number;
}

/** Cell by cell in the order of their colours: ten thousand plain rectangles take a few milliseconds, a path of them ten times that. */
function draw(canvas: HTMLCanvasElement, { layout, cells, groups, bounds, dark, spot, width }: Scene): void {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(width * ratio), Math.round(layout.height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  const style = getComputedStyle(canvas);
  const color = (name: string) => style.getPropertyValue(name).trim();
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, layout.height);
  const { size } = layout;
  const inset = size >= 8 ? 1 : 0.5;
  // x and y in turn, by what they are drawn with
  const classes: number[][] = Array.from({ length: CLASSES }, () => []);
  const [away, unknown, warned, critical]: [number[], number[], number[], number[]] = [[], [], [], []];
  groups.forEach((group, g) => {
    if (!layout.groups[g]) return;
    group.cells.forEach((index, place) => {
      const cell = cells[index];
      if (!cell) return;
      const { x, y } = placeOf(layout, { group: g, place });
      const into = cell.status === "f" ? away : cell.value === null || bounds === null ? unknown : classes[classOf(cell.value, bounds)]!;
      into.push(x, y);
      if (cell.problem > 0) (cell.problem === 2 ? critical : warned).push(x, y);
    });
  });
  const each = (spots: readonly number[], pen: (x: number, y: number) => void) => {
    for (let i = 0; i < spots.length; i += 2) pen(spots[i]!, spots[i + 1]!);
  };
  const fill = (x: number, y: number) => ctx.fillRect(x, y, size, size);
  classes.forEach((spots, of) => {
    ctx.fillStyle = heatColor(of, dark);
    each(spots, fill);
  });
  ctx.fillStyle = hatch(ctx, color("--surface"), color("--muted"), ratio);
  each(away, fill);
  ctx.lineWidth = inset;
  ctx.strokeStyle = color("--edge");
  each(unknown, (x, y) => ctx.strokeRect(x + inset / 2, y + inset / 2, size - inset, size - inset));
  // Around a mark a thin ring of the ground: red on a red cell would not be seen.
  const ring = (x: number, y: number) => ctx.strokeRect(x - 0.5, y - 0.5, size + 1, size + 1);
  const large = size >= 10;
  for (const [spots, tone] of [[warned, "--warn"], [critical, "--bad"]] as const) {
    ctx.lineWidth = large ? 4 : 3;
    ctx.strokeStyle = color("--surface");
    each(spots, ring);
    ctx.lineWidth = large ? 2 : 1.5;
    ctx.strokeStyle = color(tone);
    each(spots, ring);
  }
  if (spot && layout.groups[spot.group]) {
    const { x, y } = placeOf(layout, spot);
    ctx.lineWidth = 2;
    ctx.strokeStyle = color("--text");
    ctx.strokeRect(x - 2, y - 2, size + 4, size + 4);
  }
}

/** Diagonal lines of 4 by 4 px: who is offline, in no colour of the scale. */
function hatch(ctx: CanvasRenderingContext2D, ground: string, ink: string, ratio: number): CanvasPattern | string {
  const tile = document.createElement("canvas");
  const side = Math.round(4 * ratio);
  tile.width = tile.height = side;
  const pen = tile.getContext("2d");
  if (!pen) return ink;
  pen.fillStyle = ground;
  pen.fillRect(0, 0, side, side);
  pen.strokeStyle = ink;
  pen.lineWidth = 1.1 * ratio;
  pen.beginPath();
  for (const shift of [-side, 0, side]) {
    pen.moveTo(shift, side);
    pen.lineTo(shift + side, 0);
  }
  pen.stroke();
  const pattern = ctx.createPattern(tile, "repeat");
  if (!pattern) return ink;
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}

/** What the colours mean: each class with its bounds, and the marks beside them. */
export function HeatLegend({ bounds, format, counts }: { bounds: Bounds | null; format: (value: number) => string; counts: { offline: number; unknown: number } }) {
  const dark = useDark();
  return (
    <ul class="heat-legend" aria-label="What the colours mean">
      {bounds && (
        <li class="heat-ramp">
          {Array.from({ length: bounds.length + 1 }, (_, i) => (
            <span key={i}>
              <i style={{ background: heatColor(i, dark) }} />
              {i < bounds.length && <small>{format(bounds[i]!)}</small>}
            </span>
          ))}
        </li>
      )}
      <li>
        <i class="heat-away" aria-hidden="true" /> {plural(counts.offline, "device")} offline
      </li>
      {counts.unknown > 0 && (
        <li>
          <i class="heat-unknown" aria-hidden="true" /> {counts.unknown.toLocaleString("en-US")} without a figure
        </li>
      )}
      <li>
        <i class="heat-problem warn" aria-hidden="true" /> warning <i class="heat-problem bad" aria-hidden="true" /> critical
      </li>
    </ul>
  );
}
