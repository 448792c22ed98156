// The last hour of a figure under it: a line as wide as its tile, filled to the ground. `label` says the same in words.

import { sparkPath } from "./series";

const W = 200;
const H = 34;

export function Trend({ values, label }: { values: readonly (number | null)[]; label: string }) {
  const path = sparkPath(values, W, H);
  if (path === null) return <div class="trend" aria-hidden="true" />;
  return (
    <svg class="trend" viewBox={`0 -2 ${W} ${H + 4}`} role="img" aria-label={label} preserveAspectRatio="none">
      {/M/g.exec(path.slice(1)) === null && <path class="trend-ground" d={`${path}V${H + 2}H${firstX(path)}Z`} />}
      <path class="trend-line" d={path} />
    </svg>
  );
}

const firstX = (path: string) => /^M([\d.]+)/.exec(path)?.[1] ?? "0";
