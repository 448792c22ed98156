// A roofline plot: a dot a layer, sized by its time, under the roofs of the device. One dot at a time takes the focus;
// the arrow keys go on to the next slower or faster one.

import { useRef } from "preact/hooks";
import type { Bound, Layer, Roof } from "../api/prediction";
import { BOUNDS } from "../text/prediction";
import { short } from "../text/format";
import { Frame } from "./frame";
import { type Axis, placeOn } from "./pareto";
import { type Dot, dots, layOut, type RoofLine } from "./roofs";

interface Props {
  layers: readonly Layer[];
  roofs: readonly Roof[];
  before: readonly Layer[]; // of the model that the artifact was made of; drawn pale behind
  says: (layer: Layer) => string;
  chosen: number | null; // index in `layers`
  onChoose: (layer: number) => void;
  onLook: (layer: number | null) => void; // under the pointer
}

export function Roofline({ layers, roofs, before, says, chosen, onChoose, onLook }: Props) {
  const plot = layOut(layers, roofs, before);
  const pale = dots(before, Math.max(0, ...layers.map(time), ...before.map(time)));
  const group = useRef<SVGGElement>(null);
  const at = (dot: { x: number; y: number }) => ({ left: within(plot.x, dot.x), top: 100 - within(plot.y, dot.y) });
  const index = new Map(layers.map((layer, i) => [layer, i]));
  const first = plot.dots.some((dot) => index.get(dot.layer) === chosen) ? chosen : index.get(plot.dots[0]?.layer as Layer);

  function move(event: KeyboardEvent, place: number) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = plot.dots[Math.min(plot.dots.length - 1, Math.max(0, place + step))]!;
    const to = index.get(next.layer)!;
    onChoose(to);
    group.current?.querySelector<SVGElement>(`[data-layer="${to}"]`)?.focus();
  }

  return (
    <Frame
      label="Roofline: operations a byte against operations a second; the arrow keys go from layer to layer, the slowest first"
      x={{ axis: plot.x, title: "operations a byte", format: short }}
      y={{ axis: plot.y, title: "Gop/s", format: (value) => short(value / 1000) }}
    >
      {plot.roofs.map((line, order) => (
        <RoofMark key={`${line.roof.basis} ${line.roof.name}`} line={line} order={order} at={at} />
      ))}
      {pale.map((dot, i) => (
        <Mark key={i} dot={dot} at={at} class="pale" />
      ))}
      <g ref={group}>
        {plot.dots.map((dot, place) => {
          const own = index.get(dot.layer)!;
          const text = says(dot.layer);
          return (
            <g
              key={own}
              class={`layer ${dot.layer.bound} ${own === chosen ? "chosen" : ""}`}
              role="button"
              tabindex={own === first ? 0 : -1} // as SVG spells it: Preact passes names on as they are
              aria-pressed={own === chosen}
              aria-label={text}
              data-layer={own}
              data-testid={`layer-dot-${own}`}
              onClick={() => onChoose(own)}
              onMouseEnter={() => onLook(own)}
              onMouseLeave={() => onLook(null)}
              onKeyDown={(event: KeyboardEvent) => {
                if (event.key === "Enter" || event.key === " ") {
                  event.preventDefault();
                  onChoose(own);
                } else move(event, place);
              }}
            >
              <Mark dot={dot} at={at} class="" />
            </g>
          );
        })}
      </g>
    </Frame>
  );
}

const time = (layer: Layer) => layer.latency_us;

/** 0..100; what lies beyond an axis stands at its end. */
const within = (axis: Axis, value: number) => Math.min(100, Math.max(0, placeOn(axis, value)));

type At = (point: { x: number; y: number }) => { left: number; top: number };

/** Shapes beside colours, so that colour is not the only sign of the bound. */
function Mark({ dot, at, class: extra }: { dot: Dot; at: At; class: string }) {
  const { left, top } = at(dot);
  return (
    <svg class={`mark ${extra}`} x={`${left}%`} y={`${top}%`}>
      <circle class="reach" r={Math.max(12, dot.radius)} />
      <Shape bound={dot.layer.bound} r={dot.radius} />
    </svg>
  );
}

export function Shape({ bound, r }: { bound: Bound; r: number }) {
  if (bound === "compute") return <circle class="shape" r={r} />;
  if (bound === "memory") return <rect class="shape" x={-0.9 * r} y={-0.9 * r} width={1.8 * r} height={1.8 * r} rx="1" />;
  return <path class="shape" d={`M0 ${-1.2 * r} L${1.1 * r} ${0.8 * r} L${-1.1 * r} ${0.8 * r} Z`} />;
}

/** Its name stands at the end of a level roof, the datasheet's a little before; and beside a slope, each at a place of
 * its own, since slopes lie close to each other. */
function RoofMark({ line, order, at }: { line: RoofLine; order: number; at: At }) {
  const [from, to] = [at(line.from), at(line.to)];
  const level = line.roof.what === "compute";
  const calibrated = line.roof.basis === "calibration";
  const along = 0.25 + 0.2 * (order % 4);
  const foot = { left: from.left + along * (to.left - from.left), top: from.top + along * (to.top - from.top) };
  return (
    <g class={`roof ${line.roof.basis}`}>
      <line x1={`${from.left}%`} y1={`${from.top}%`} x2={`${to.left}%`} y2={`${to.top}%`} />
      {level ? (
        <text x={calibrated ? "100%" : "90%"} y={`${to.top}%`} dy={calibrated ? 14 : -5} text-anchor="end">
          {line.roof.name}
        </text>
      ) : (
        <text x={`${foot.left}%`} y={`${foot.top}%`} dx="-8" dy="-2" text-anchor="end">
          {line.roof.name}
        </text>
      )}
    </g>
  );
}

/** What shapes, colours and lines mean. */
export function RooflineKey({ calibrated, overlaid }: { calibrated: boolean; overlaid: boolean }) {
  return (
    <ul class="roofline-key">
      {BOUNDS.map((bound) => (
        <li key={bound.id}>
          <svg class={`layer ${bound.id}`} width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">
            <Shape bound={bound.id} r={5} />
          </svg>
          {bound.text}
        </li>
      ))}
      {overlaid && (
        <li>
          <svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">
            <g class="mark pale">
              <circle class="shape" r="5" />
            </g>
          </svg>
          before
        </li>
      )}
      <li>
        <span class="roof-key dashed" aria-hidden="true" />
        datasheet
      </li>
      {calibrated && (
        <li>
          <span class="roof-key" aria-hidden="true" />
          calibrated
        </li>
      )}
    </ul>
  );
}
