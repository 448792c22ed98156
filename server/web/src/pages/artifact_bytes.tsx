// Where an artifact's bytes went: from stage to stage for the whole model, and part by part. The tables are the plots.

import { useState } from "preact/hooks";
import { Bar, Fall, Stack } from "../plot/bars";
import type { TensorBytes } from "../plot/report";
import { fromZero, logarithmic } from "../plot/scale";
import { bitsPerWeight, largest, type Order, type Step } from "../plot/sizes";
import { bytes, part, plural, ratio, shape, short } from "../text/format";
import { Card } from "../ui/parts";

const SHOWN = 12; // parts before "show all"

export function FallCard({ steps }: { steps: readonly Step[] }) {
  const scale = logarithmic(steps.map((each) => each.after));
  return (
    <Card flush title="From weights to the artifact" note="Logarithmic: the same factor is the same length">
      <div class="table-box" tabIndex={0} role="region" aria-label="From weights to the artifact">
        <table data-testid="byte-steps">
          <thead>
            <tr>
              <th scope="col">After</th>
              <th scope="col">Bytes</th>
              <th scope="col" class="num">
                Change
              </th>
            </tr>
          </thead>
          <tbody>
            {steps.map((each, i) => (
              <tr key={each.name}>
                <th scope="row">
                  {each.name}
                  <span class="sub">{each.note}</span>
                </th>
                <td class="grow">
                  <Fall before={each.before} after={each.after} scale={scale} text={bytes(each.after)} />
                </td>
                <td class="num">{i === 0 ? "" : change(each)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function change({ before, after }: Step): string {
  if (after === before) return "none";
  if (after > before) return `+ ${bytes(after - before)}`;
  const factor = before / after;
  return factor < 1.95 ? `− ${part(1 - after / before)}` : `${ratio(factor)} less`;
}

/** A tensor's name that may wrap after its dots, and not in the middle of a word. */
function breakable(name: string) {
  return name.split(/(?<=[./])/).map((word) => (
    <>
      {word}
      <wbr />
    </>
  ));
}

interface PartsProps {
  parts: readonly TensorBytes[];
  total: number;
  wide: boolean; // with the bytes after each stage, which old reports do not have
}
export function PartsCard({ parts, total, wide }: PartsProps) {
  const [all, setAll] = useState(false);
  const [order, setOrder] = useState<Order>("size");
  const shown = largest(parts, all ? Infinity : SHOWN, order);
  const scale = fromZero(shown.map((each) => each.bytes));
  return (
    <Card
      flush
      title="Where the bytes went"
      note={`${plural(parts.length, "part")} of ${bytes(total)}`}
      testid="artifact-bytes"
      actions={
        parts.length > 1 && (
          <div class="row">
            <button type="button" class="small" onClick={() => setOrder(order === "size" ? "graph" : "size")} data-testid="bytes-order">
              {order === "size" ? "Graph order" : "Largest first"}
            </button>
            {parts.length > SHOWN + 1 && (
              <button type="button" class="small" onClick={() => setAll(!all)} aria-expanded={all} data-testid="bytes-all">
                {all ? "Show the largest" : "Show all"}
              </button>
            )}
          </div>
        )
      }
    >
      {wide && (
        <p class="key-list parts-key" aria-hidden="true">
          <span>payload</span>
          <span class="side-info">side information: codebook or scales, lengths, checksum</span>
        </p>
      )}
      <div class="table-box" tabIndex={0} role="region" aria-label="Where the bytes went">
        <table class={wide ? "fixed parts-wide" : "fixed"}>
          <thead>
            <tr>
              <th scope="col" class="first-col">
                Part
              </th>
              <th scope="col" class="bar-col">
                Bytes
              </th>
              {wide && <Head name="Side" />}
              <Head name="Share" />
              {wide && <Head name="In ONNX" />}
              {wide && <Head name="Not zero" />}
              {wide && <Head name="Quantized" />}
              {wide && <Head name="Bits" />}
              <th scope="col" class="num">
                Smaller
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.map((each) => (
              <tr key={each.name}>
                <th scope="row">
                  <span class="tensor">{breakable(each.name)}</span>
                  <span class="sub">{about(each)}</span>
                </th>
                <td class="grow">
                  {each.sideBytes === null ? (
                    <Bar kind="after" value={each.bytes} scale={scale} text={bytes(each.bytes)} />
                  ) : (
                    <Stack payload={each.bytes - each.sideBytes} side={each.sideBytes} scale={scale} text={bytes(each.bytes)} />
                  )}
                </td>
                {wide && <Figure value={each.sideBytes} />}
                <td class="num col-2">{total > 0 ? part(each.bytes / total) : ""}</td>
                {wide && <Figure value={each.rawBytes} />}
                {wide && <Figure value={each.nonzeroBytes} />}
                {wide && <Figure value={each.entropyBytes} />}
                {wide && <td class="num col-2">{bits(each)}</td>}
                <td class="num">
                  {each.rawBytes !== null && each.bytes > 0 ? ratio(each.rawBytes / each.bytes) : ""}
                  {wide && bits(each) && <span class="sub phone">{bits(each)} bits</span>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

const Head = ({ name }: { name: string }) => (
  <th scope="col" class="num col-2">
    {name}
  </th>
);
const Figure = ({ value }: { value: number | null }) => <td class="num col-2">{value === null ? "" : bytes(value)}</td>;

function bits(each: TensorBytes): string {
  const value = bitsPerWeight(each);
  return value === null ? "" : short(value);
}

function about(each: TensorBytes): string {
  const form = each.shape.length > 0 ? `${shape(each.shape)} ${each.dtype ?? ""}`.trim() : "";
  return [form, each.coding].filter(Boolean).join(", ");
}
