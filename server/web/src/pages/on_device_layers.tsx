// Where the time goes: by bound in one bar, by layer in a table that sorts.

import { useMemo, useState } from "preact/hooks";
import type { Layer, Prediction } from "../api/prediction";
import { sharesByBound } from "../plot/roofs";
import { micros, part, plural, short } from "../text/format";
import { basisWords, BOUNDS, boundWord } from "../text/prediction";
import { Card } from "../ui/parts";

export function BoundShares({ prediction }: { prediction: Prediction }) {
  const shares = sharesByBound(prediction.layers, prediction.overhead_us);
  const there = BOUNDS.filter((bound) => shares[bound.id] > 0);
  return (
    <div class="bounds" data-testid="bounds">
      <div class="bounds-track" aria-hidden="true">
        {there.map((bound) => (
          <div key={bound.id} class={bound.id} style={{ width: `${100 * shares[bound.id]}%` }} />
        ))}
      </div>
      <p class="note">Of the time: {there.map((bound) => `${part(shares[bound.id])} ${bound.text}`).join(", ")}.</p>
    </div>
  );
}

type Column = "order" | "time" | "bound" | "intensity" | "rate";
const COLUMNS: readonly { id: Column; title: string; class: string; key: (layer: Layer, i: number) => number | string; down: boolean }[] = [
  { id: "order", title: "Layer", class: "", key: (_, i) => i, down: false },
  { id: "time", title: "Time, predicted", class: "num", key: (layer) => layer.latency_us, down: true },
  { id: "bound", title: "Bound by", class: "", key: (layer) => layer.bound, down: false },
  { id: "intensity", title: "Operations a byte", class: "num col-2", key: (layer) => layer.operations_per_byte, down: true },
  { id: "rate", title: "Gop/s", class: "num col-2", key: (layer) => layer.operations_per_us, down: true },
];
const AT_FIRST = 8;

interface Props {
  prediction: Prediction;
  chosen: number | null;
  onChoose: (layer: number) => void;
}
export function LayerTable({ prediction, chosen, onChoose }: Props) {
  const [by, setBy] = useState<{ column: Column; down: boolean }>({ column: "time", down: true });
  const [all, setAll] = useState(false);
  const rows = useMemo(() => sorted(prediction.layers, by.column, by.down), [prediction, by]);
  const few = all ? rows : rows.slice(0, AT_FIRST);
  const shown = chosen !== null && !few.some((row) => row.i === chosen) ? [...few, ...rows.filter((row) => row.i === chosen)] : few;
  const most = Math.max(...prediction.layers.map((layer) => layer.share), 0) || 1;
  return (
    <Card
      flush
      title="Layers"
      note={`As the runtime executes them, fused and reordered; ${basisWords(prediction.words)}`}
      testid="layers"
      actions={
        rows.length > AT_FIRST && (
          <button type="button" class="small" aria-expanded={all} onClick={() => setAll(!all)} data-testid="layers-all">
            {all ? `Only ${AT_FIRST}` : `All ${rows.length}`}
          </button>
        )
      }
    >
      <div class={all ? "table-box tall" : "table-box"} tabIndex={0} role="region" aria-label="Layers">
        <table class="layers">
          <thead>
            <tr>
              {COLUMNS.map((column) => (
                <th
                  key={column.id}
                  scope="col"
                  class={column.class}
                  aria-sort={by.column === column.id ? (by.down ? "descending" : "ascending") : "none"}
                >
                  <button
                    type="button"
                    class="text sort"
                    onClick={() => setBy({ column: column.id, down: by.column === column.id ? !by.down : column.down })}
                    data-testid={`layers-by-${column.id}`}
                  >
                    {column.title}
                    <span aria-hidden="true">{by.column === column.id ? (by.down ? " ↓" : " ↑") : ""}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map(({ layer, i }) => (
              <Row key={i} layer={layer} place={i + 1} most={most} chosen={i === chosen} onChoose={() => onChoose(i)} />
            ))}
            {prediction.overhead_us > 0 && (
              <tr>
                <th scope="row">
                  Calls
                  <span class="sub">of the runtime and of {plural(prediction.layers.length, "layer")}, beyond their kernels</span>
                </th>
                <td class="num">
                  {micros(prediction.overhead_us)}
                  <span class="sub">{part(prediction.overhead_us / prediction.latency_us)}</span>
                </td>
                <td>{boundWord("overhead")}</td>
                <td class="num col-2" />
                <td class="num col-2" />
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function Row({ layer, place, most, chosen, onChoose }: { layer: Layer; place: number; most: number; chosen: boolean; onChoose: () => void }) {
  return (
    <tr class={chosen ? "chosen" : ""}>
      <th scope="row">
        <button type="button" class="text" aria-pressed={chosen} onClick={onChoose}>
          {layer.name}
        </button>
        <span class="sub">
          {place}. {layer.kind}
          {!layer.known && ", a kind that no device has timed"}
        </span>
      </th>
      <td class="num">
        {micros(layer.latency_us)}
        <span class="sub">{part(layer.share)}</span>
        <span class={`share-bar ${layer.bound}`} aria-hidden="true">
          <span style={{ width: `${(100 * layer.share) / most}%` }} />
        </span>
      </td>
      <td>{layer.bound}</td>
      <td class="num col-2">{layer.operations > 0 ? short(layer.operations_per_byte) : "moves only"}</td>
      <td class="num col-2">{layer.operations > 0 ? short(layer.operations_per_us / 1000) : ""}</td>
    </tr>
  );
}

function sorted(layers: readonly Layer[], column: Column, down: boolean): { layer: Layer; i: number }[] {
  const { key } = COLUMNS.find((each) => each.id === column)!;
  const rows = layers.map((layer, i) => ({ layer, i, key: key(layer, i) }));
  const way = down ? -1 : 1;
  return rows.sort((a, b) => (a.key < b.key ? -way : a.key > b.key ? way : a.i - b.i)); // ties as they run
}
