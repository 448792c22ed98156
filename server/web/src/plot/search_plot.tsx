// Trials as dots, live: accuracy against a cost, the front's stairs, the budget's part shaded. A dot is a button.

import type { SearchBudget } from "../api/searches";
import type { Cost } from "../api/searches";
import { Frame, type Side } from "./frame";
import { axisAround, namePlaces, placeOn } from "./pareto";
import { allowed, type Dot, stairs } from "./search_points";

interface Props {
  label: string;
  dots: readonly Dot[];
  cost: Cost;
  budget: SearchBudget;
  title: string;
  format: (value: number) => string;
  named: ReadonlyMap<number, string>; // names beside dots
  chosen: number | null;
  onChoose: (number: number) => void;
}

const points = (value: number) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(Number(value.toFixed(2)))}`;

export function SearchPlot({ label, dots, cost, budget, title, format, named, chosen, onChoose }: Props) {
  const region = allowed(budget, cost);
  const known = dots.filter((dot) => dot.points !== null);
  const unknown = dots.length - known.length;
  const costs = [...dots.map((dot) => dot.cost), ...(region?.cost ? [region.cost] : [])];
  // A collapsed model would press all others into a line: 30 points below is far enough.
  const heights = [...known.map((dot) => Math.max(dot.points ?? 0, -30)), ...(region?.points ? [region.points] : []), 0];
  const x: Side = { axis: axisAround(costs, true), title, format };
  const room = axisAround(heights, false);
  const y: Side = {
    axis: unknown > 0 ? { ...room, low: room.low - (room.high - room.low) * 0.12 } : room,
    title: "accuracy, points from the original",
    format: points,
  };
  const left = (value: number) => placeOn(x.axis, value);
  const top = (value: number) => Math.min(100, Math.max(0, 100 - placeOn(y.axis, value)));
  const at = (dot: Dot) => ({ left: left(dot.cost), top: dot.points === null ? 100 : Math.min(98, top(dot.points)) });
  const order = (dot: Dot) => (dot.number === chosen ? 3 : named.has(dot.number) ? 2 : dot.stage === "predicted" ? 0 : 1);
  const shown = [...dots].sort((a, b) => order(a) - order(b));
  const lettered = shown.filter((dot) => named.has(dot.number)).reverse();
  const places = namePlaces(lettered.map((dot) => ({ ...at(dot), name: named.get(dot.number)! })));
  const corners = stairs(dots);
  return (
    <Frame label={label} x={x} y={y}>
      {region && (
        <rect
          class="region"
          x="0"
          y="0"
          width={`${region.cost === null ? 100 : Math.min(100, Math.max(0, left(region.cost)))}%`}
          height={`${region.points === null ? 100 : top(region.points)}%`}
        />
      )}
      {corners.map((corner, i) => {
        const next = corners[i + 1];
        return (
          next && (
            <g key={corner.cost} class="stairs" aria-hidden="true">
              <line x1={`${left(corner.cost)}%`} x2={`${left(next.cost)}%`} y1={`${top(corner.points)}%`} y2={`${top(corner.points)}%`} />
              <line x1={`${left(next.cost)}%`} x2={`${left(next.cost)}%`} y1={`${top(corner.points)}%`} y2={`${top(next.points)}%`} />
            </g>
          )
        );
      })}
      {shown.map((dot) => {
        const { left: cx, top: cy } = at(dot);
        const name = named.get(dot.number);
        const place = name === undefined ? undefined : places[lettered.indexOf(dot)];
        const met = dot.within === null ? "" : dot.within ? ", within the budget" : ", misses the budget";
        const says = `Trial ${dot.number}, ${dot.title}: ${format(dot.cost)}, ${
          dot.points === null ? "accuracy not looked at" : `${points(dot.points)} points`
        }, ${dot.stage}${met}`;
        return (
          <g
            key={dot.number}
            class={`dot trial ${dot.stage} ${dot.original ? "original" : ""} ${dot.within === false ? "missed" : ""} ${dot.number === chosen ? "chosen" : ""}`}
            role="button"
            tabindex={0} // as SVG spells it: Preact passes names on as they are
            aria-pressed={dot.number === chosen}
            aria-label={says}
            data-testid={`trial-dot-${dot.number}`}
            onClick={() => onChoose(dot.number)}
            onKeyDown={(event: KeyboardEvent) => {
              if (event.key !== "Enter" && event.key !== " ") return;
              event.preventDefault();
              onChoose(dot.number);
            }}
          >
            <title>{says}</title>
            {dot.points !== null && dot.error !== null && dot.error > 0 && (
              <line x1={`${cx}%`} x2={`${cx}%`} y1={`${top(dot.points - 1.96 * dot.error)}%`} y2={`${top(dot.points + 1.96 * dot.error)}%`} />
            )}
            <circle class="reach" cx={`${cx}%`} cy={`${cy}%`} r="12" />
            {dot.stage === "measured" && <circle class="ring" cx={`${cx}%`} cy={`${cy}%`} r="9" />}
            <circle cx={`${cx}%`} cy={`${cy}%`} r={dot.stage === "predicted" ? 3.5 : 5} />
            {name !== undefined && place && (
              <text class="name" x={`${cx}%`} y={`${cy}%`} dx={place.dx} dy={place.dy} text-anchor={place.anchor}>
                {name}
              </text>
            )}
          </g>
        );
      })}
    </Frame>
  );
}
