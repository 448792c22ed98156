// Named curves in one plot: the first ones in colour, the others grey.

import { useDark } from "../ui/theme";
import { lineColor, MAX_LINES } from "./colors";
import { Frame } from "./frame";
import { axisAround, placeOn } from "./pareto";
import type { Curve } from "./report";

interface CurvesProps {
  label: string;
  curves: readonly Curve[];
  xTitle: string;
  yTitle: string;
  xFormat: (value: number) => string;
  yFormat: (value: number) => string;
}
export function Curves({ label, curves, xTitle, yTitle, xFormat, yFormat }: CurvesProps) {
  const dark = useDark();
  const all = curves.flatMap((each) => each.points);
  const x = { axis: axisAround(all.map((each) => each.x), false), title: xTitle, format: xFormat };
  const y = { axis: axisAround(all.map((each) => each.y), false), title: yTitle, format: yFormat };
  const color = (i: number) => (i < MAX_LINES ? lineColor(i, dark) : "var(--before)");
  const left = (value: number) => `${placeOn(x.axis, value)}%`;
  const top = (value: number) => `${100 - placeOn(y.axis, value)}%`;
  return (
    <>
      <Frame label={label} x={x} y={y}>
        {curves
          .map((curve, i) => (
            <g key={curve.name} stroke={color(i)} fill={color(i)} stroke-width="1.6">
              <title>{curve.name}</title>
              {curve.points.slice(1).map((point, j) => {
                const before = curve.points[j]!;
                return <line key={j} x1={left(before.x)} y1={top(before.y)} x2={left(point.x)} y2={top(point.y)} />;
              })}
              {curve.points.map((point, j) => (
                <circle key={j} cx={left(point.x)} cy={top(point.y)} r="2" />
              ))}
            </g>
          ))
          .reverse()}
      </Frame>
      <ul class="legend">
        {curves.slice(0, MAX_LINES).map((curve, i) => (
          <li key={curve.name}>
            <span class="key" style={{ "--key": color(i) }} aria-hidden="true" />
            <span class="label">{curve.name}</span>
          </li>
        ))}
        {curves.length > MAX_LINES && (
          <li>
            <span class="key" style={{ "--key": "var(--before)" }} aria-hidden="true" />
            <span class="label">{curves.length - MAX_LINES} others</span>
          </li>
        )}
      </ul>
    </>
  );
}
