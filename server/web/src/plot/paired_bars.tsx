// Two distributions beside each other: what a model was made with, and what it sees now.

import { part } from "../text/format";
import type { Pair } from "../text/drift";

interface Props {
  pairs: readonly Pair[];
  label: string;
  upright?: boolean; // bins in an order: bars stand; classes: bars lie, with their names
}

export function PairedBars({ pairs, label, upright }: Props) {
  const most = Math.max(...pairs.flatMap((pair) => [pair.expected, pair.actual ?? 0]), 1e-9);
  const size = (share: number) => `${(share / most) * 100}%`;
  const words = (pair: Pair) => `${pair.label}: ${pair.actual === null ? "nothing seen" : part(pair.actual)}, baseline ${part(pair.expected)}`;
  if (upright) {
    return (
      <div class="pair-bars" role="img" aria-label={`${label}. ${pairs.map(words).join("; ")}`}>
        <div class="pair-bars-plot">
          {pairs.map((pair, i) => (
            <div class="pair-bin" key={i} title={words(pair)}>
              <span class="pair-was" style={{ height: size(pair.expected) }} />
              <span class="pair-is" style={{ height: size(pair.actual ?? 0) }} />
            </div>
          ))}
        </div>
        <div class="pair-ends" aria-hidden="true">
          <span>{pairs[0]?.label}</span>
          <span>{pairs[pairs.length - 1]?.label}</span>
        </div>
      </div>
    );
  }
  return (
    <ul class="pair-rows" aria-label={label}>
      {pairs.map((pair) => (
        <li key={pair.label} title={words(pair)}>
          <span class="pair-name">{pair.label}</span>
          <span class="pair-track" aria-hidden="true">
            <span class="pair-is" style={{ width: size(pair.actual ?? 0) }} />
            <span class="pair-was" style={{ width: size(pair.expected) }} />
          </span>
          <span class="pair-text">
            {part(pair.actual)} <span class="note">{part(pair.expected)}</span>
          </span>
        </li>
      ))}
    </ul>
  );
}

export const PairKey = () => (
  <p class="key-list">
    <span>now</span>
    <span class="before">baseline</span>
  </p>
);
