// Artifacts as dots: accuracy against a cost. A dot is a button that chooses its artifact.

import { Frame, type Side } from "./frame";
import { axisAround, dominated, namePlaces, placeOn, type Point } from "./pareto";

interface ScatterProps {
  label: string;
  points: readonly Point[];
  cost: (point: Point) => number | null;
  title: string; // of the cost
  format: (value: number) => string;
  accuracy: (share: number) => string;
  original: { cost: number | null; accuracy: number | null };
  chosen: string;
  onChoose: (digest: string) => void;
}

export function Scatter({ label, points, cost, title, format, accuracy, original, chosen, onChoose }: ScatterProps) {
  const grey = dominated(points, cost);
  const shown = points.flatMap((point) => {
    const [own, share] = [cost(point), point.accuracy];
    return own === null || own <= 0 || share === null ? [] : [{ point, own, share }];
  });
  // drawn last: what is not grey, and the chosen one on top
  const order = (digest: string) => (digest === chosen ? 2 : grey.has(digest) ? 0 : 1);
  shown.sort((a, b) => order(a.point.digest) - order(b.point.digest));
  const base = original.cost !== null && original.accuracy !== null ? { own: original.cost, share: original.accuracy } : null;
  const costs = [...shown.map((each) => each.own), ...(base ? [base.own] : [])];
  const shares = [...shown.flatMap(({ point, share }) => [share, point.low ?? share, point.high ?? share]), ...(base ? [base.share] : [])];
  const x: Side = { axis: axisAround(costs, true), title, format };
  const y: Side = { axis: axisAround(shares, false), title: "accuracy", format: accuracy };
  const at = (own: number, share: number) => ({ left: placeOn(x.axis, own), top: 100 - placeOn(y.axis, share) });
  const dots = [...shown].reverse().map(({ point, own, share }) => ({ ...at(own, share), name: point.name }));
  const ends = base ? [{ ...at(base.own, base.share), name: "original" }] : [];
  const places = namePlaces([...dots, ...ends]);
  return (
    <Frame label={label} x={x} y={y}>
      {base && (
        <g class="dot original">
          <circle cx={`${ends[0]!.left}%`} cy={`${ends[0]!.top}%`} r="5" />
          <text class="name" x={`${ends[0]!.left}%`} y={`${ends[0]!.top}%`} dx={places.at(-1)!.dx} dy={places.at(-1)!.dy} text-anchor={places.at(-1)!.anchor}>
            original
          </text>
        </g>
      )}
      {shown.map(({ point, own, share }, i) => {
        const { left, top } = at(own, share);
        const place = places[shown.length - 1 - i]!;
        const says = `${point.name}: ${format(own)}, ${accuracy(share)}${grey.has(point.digest) ? ", another is no worse in both" : ""}`;
        return (
          <g
            key={point.digest}
            class={`dot ${grey.has(point.digest) ? "grey" : ""} ${point.digest === chosen ? "chosen" : ""}`}
            role="button"
            tabindex={0} // as SVG spells it: Preact passes names on as they are
            aria-pressed={point.digest === chosen}
            aria-label={says}
            data-testid={`pareto-${point.digest.slice(0, 12)}`}
            onClick={() => onChoose(point.digest)}
            onKeyDown={(event: KeyboardEvent) => {
              if (event.key !== "Enter" && event.key !== " ") return;
              event.preventDefault();
              onChoose(point.digest);
            }}
          >
            <title>{says}</title>
            {point.low !== null && point.high !== null && (
              <line x1={`${left}%`} x2={`${left}%`} y1={`${at(own, point.low).top}%`} y2={`${at(own, point.high).top}%`} />
            )}
            <circle class="reach" cx={`${left}%`} cy={`${top}%`} r="14" />
            <circle cx={`${left}%`} cy={`${top}%`} r="5" />
            <text class="name" x={`${left}%`} y={`${top}%`} dx={place.dx} dy={place.dy} text-anchor={place.anchor}>
              {point.name}
            </text>
          </g>
        );
      })}
    </Frame>
  );
}
