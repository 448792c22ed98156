// What each stage of a compression did: bytes, work, memory, time; how sensitive tensors are, and which filters live.

import { Bar, BarOf } from "../plot/bars";
import { Curves } from "../plot/curves";
import type { Filter, Report, Stage } from "../plot/report";
import { fromZero } from "../plot/scale";
import { accuracy, bytes, count, micros, part, seconds, short } from "../text/format";
import { Card } from "../ui/parts";

const NONE = {
  seconds: null, nonzero: null, bits: null, accuracy: null, note: null, flops: null, parameters: null, sparsity: null,
  peakBytes: null, latencyUs: null, speedup: null, sensitivity: [], filters: [],
}; // prettier-ignore

interface Column {
  name: string;
  of: (stage: Stage) => number | null;
  text: (value: number) => string;
  phone?: boolean; // shown there, too
}
const COLUMNS: readonly Column[] = [
  { name: "Zero", of: (s) => s.sparsity ?? (s.nonzero === null ? null : 1 - s.nonzero), text: part },
  { name: "Bits", of: (s) => s.bits, text: short },
  { name: "FLOPs", of: (s) => s.flops, text: count },
  { name: "Parameters", of: (s) => s.parameters, text: count },
  { name: "Peak memory", of: (s) => s.peakBytes, text: bytes },
  { name: "Speed", of: (s) => s.speedup, text: (value) => `${value.toFixed(2)}×` },
  { name: "Latency", of: (s) => s.latencyUs, text: micros },
  { name: "Accuracy", of: (s) => s.accuracy, text: accuracy, phone: true },
  { name: "Time", of: (s) => s.seconds, text: seconds },
];

export function StagesCard({ report, end }: { report: Report; end: number }) {
  const { before } = report.costs;
  const first = { ...NONE, ...before, name: "original", bytes: report.bytes.weightsBefore };
  const rows: Stage[] = [first, ...report.stages, { ...NONE, name: "artifact", bytes: end }];
  const scale = fromZero(rows.map((each) => each.bytes));
  const columns = COLUMNS.filter((column) => report.stages.some((stage) => column.of(stage) !== null));
  const notes = ["Bytes on the way are estimates"];
  if (report.stages.some((stage) => stage.accuracy !== null)) notes.push("accuracy is of held-out training samples");
  if (report.stages.some((stage) => stage.speedup !== null)) notes.push("latency is of this server, in turns with the original");
  return (
    <Card flush title="Stages" note={notes.join("; ")} testid="stages">
      <div class="table-box" tabIndex={0} role="region" aria-label="Stages">
        <table>
          <thead>
            <tr>
              <th scope="col">Stage</th>
              <th scope="col">Bytes</th>
              {columns.map((each) => (
                <th key={each.name} scope="col" class={each.phone ? "num" : "num col-2"}>
                  {each.name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, i) => (
              <tr key={i}>
                <th scope="row">
                  {row.name}
                  {row.note && <span class="sub">{row.note}</span>}
                </th>
                <td class="stage-bytes">
                  {row.bytes === null ? (
                    <span class="sub">not estimated</span>
                  ) : (
                    <Bar kind={i === 0 ? "before" : "after"} value={row.bytes} scale={scale} text={bytes(row.bytes)} />
                  )}
                </td>
                {columns.map((each) => {
                  const value = each.of(row);
                  return (
                    <td key={each.name} class={each.phone ? "num" : "num col-2"}>
                      {value === null ? "" : each.text(value)}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** A plot for each stage that changed its tensors one by one to see what they are worth. */
export function SensitivityCards({ stages }: { stages: readonly Stage[] }) {
  return (
    <>
      {stages.flatMap((stage) =>
        stage.sensitivity.map(({ by, curves }) => (
          <Card
            key={`${stage.name} ${by}`}
            title={`Sensitivity, ${stage.name}`}
            note="The loss when this tensor alone is changed; the most sensitive ones have a colour"
            testid="sensitivity"
          >
            <Curves
              label={`Sensitivity, ${stage.name}`}
              curves={curves}
              xTitle={by === "bits" ? "bits a weight" : "fraction of the tensor that is zero"}
              yTitle="loss"
              xFormat={short}
              yFormat={short}
            />
          </Card>
        )),
      )}
    </>
  );
}

/** What is left of each group of channels. */
export function FilterCards({ stages }: { stages: readonly Stage[] }) {
  return <>{stages.map((stage, i) => stage.filters.length > 0 && <Filters key={i} stage={stage.name} filters={stage.filters} />)}</>;
}

function Filters({ stage, filters }: { stage: string; filters: readonly Filter[] }) {
  const scale = fromZero(filters.map((each) => each.of));
  const sum = (of: (each: Filter) => number) => filters.reduce((total, each) => total + of(each), 0);
  return (
    <Card
      flush
      title={`Filters alive after ${stage}`}
      note={`${sum((each) => each.alive).toLocaleString("en-US")} of ${sum((each) => each.of).toLocaleString("en-US")} are left`}
      testid="filters"
    >
      <div class="table-box tall" tabIndex={0} role="region" aria-label={`Filters alive after ${stage}`}>
        <table>
          <thead>
            <tr>
              <th scope="col">Channels of</th>
              <th scope="col">Alive</th>
              <th scope="col" class="num">
                Gone
              </th>
            </tr>
          </thead>
          <tbody>
            {filters.map((each) => (
              <tr key={each.group}>
                <th scope="row">{each.group}</th>
                <td class="grow">
                  <BarOf value={each.alive} of={each.of} scale={scale} text={`${each.alive} of ${each.of}`} />
                </td>
                <td class="num">{part(1 - each.alive / Math.max(1, each.of))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
