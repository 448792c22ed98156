// The frame of a plot in SVG whose places are percentages: it fills any width and its letters keep their size.

import type { ComponentChildren } from "preact";
import { type Axis, axisTicks, placeOn } from "./pareto";

export interface Side {
  axis: Axis;
  title: string;
  format: (value: number) => string;
}

interface FrameProps {
  label: string;
  x: Side;
  y: Side;
  children: ComponentChildren;
}
export function Frame({ label, x, y, children }: FrameProps) {
  return (
    <div class="frame">
      <svg role="group" aria-label={label}>
        {axisTicks(y.axis).map((tick) => (
          <g key={`y${tick}`} aria-hidden="true">
            <line class="grid" x1="0" x2="100%" y1={`${100 - placeOn(y.axis, tick)}%`} y2={`${100 - placeOn(y.axis, tick)}%`} />
            <text x="-8" y={`${100 - placeOn(y.axis, tick)}%`} dy="4" text-anchor="end">
              {y.format(tick)}
            </text>
          </g>
        ))}
        {axisTicks(x.axis).map((tick) => (
          <g key={`x${tick}`} aria-hidden="true">
            <line class="grid" y1="0" y2="100%" x1={`${placeOn(x.axis, tick)}%`} x2={`${placeOn(x.axis, tick)}%`} />
            <text x={`${placeOn(x.axis, tick)}%`} y="100%" dy="16" text-anchor="middle">
              {x.format(tick)}
            </text>
          </g>
        ))}
        <text x="100%" y="100%" dy="32" text-anchor="end" aria-hidden="true">
          {x.title}
        </text>
        <text x="-50" y="0" dy="-6" aria-hidden="true">
          {y.title}
        </text>
        {children}
      </svg>
    </div>
  );
}
