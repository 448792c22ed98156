// Every artifact of a model beside what it was made from: bytes, accuracy, latency.

import type { ArtifactSummary, Model, Profile } from "../api/types";
import { Bar, Dot } from "../plot/bars";
import { SELECTION } from "../plot/pareto";
import { readReport, type Report } from "../plot/report";
import { around, fromZero, type Scale } from "../plot/scale";
import { accuracy, ago, bytes, micros, ratio } from "../text/format";
import { Card } from "../ui/parts";
import { useNow } from "../ui/now";

interface Props {
  model: Model;
  artifacts: readonly ArtifactSummary[];
  profiles: readonly Profile[];
  chosen: string;
  onChoose: (digest: string) => void;
}

export function CompareTable({ model, artifacts, profiles, chosen, onChoose }: Props) {
  const now = useNow(30_000);
  const reports = artifacts.map((each) => readReport(each.report));
  const sizes = fromZero([model.weight_bytes, ...artifacts.map((each) => each.bytes)]);
  const shares = around(
    reports.flatMap(({ accuracy: { before, after } }) => [before, after]).flatMap((at) => (at ? [at.low ?? at.value, at.high ?? at.value] : [])),
    0.02,
  );
  const times = fromZero(reports.flatMap(({ latency: { before, after } }) => [before?.p95_us ?? before?.p50_us, after?.p95_us ?? after?.p50_us]));
  return (
    <Card
      flush
      title="Artifacts"
      note="Measured on the decoded artifact in onnxruntime, on this server"
      actions={
        <div class="key-list">
          <span class="before">before</span>
          <span>after</span>
          <span class="pale">95 % interval, p95</span>
        </div>
      }
    >
      <div class="table-box" tabIndex={0} role="region" aria-label="Artifacts, before and after">
        <table class="compare">
          <thead>
            <tr>
              <th scope="col" class="first-col">Profile</th>
              <th scope="col">Bytes</th>
              <th scope="col">
                {reports[0]?.accuracy.metric === "accuracy" ? "Accuracy" : (reports[0]?.accuracy.metric ?? "Accuracy")}
                {shares.low > 0 && (
                  <span class="axis">
                    {" "}
                    {Math.round(shares.low * 1000) / 10} to {Math.round(shares.high * 1000) / 10} %
                  </span>
                )}
              </th>
              <th scope="col">Latency, p50</th>
            </tr>
          </thead>
          <tbody>
            {artifacts.map((artifact, i) => {
              const isChosen = artifact.digest === chosen;
              return (
                <tr
                  key={artifact.digest}
                  class={isChosen ? "chosen" : ""}
                  data-testid={`artifact-row-${artifact.profile}-${artifact.recipe}`}
                >
                  <th scope="row">
                    <button
                      type="button"
                      class="text"
                      aria-pressed={isChosen}
                      onClick={() => onChoose(artifact.digest)}
                    >
                      {profiles.find((each) => each.id === artifact.profile)?.name ?? artifact.profile}
                    </button>
                    <span class="sub">
                      {artifact.recipe}, {ago(artifact.created_at, now)}
                    </span>
                  </th>
                  <Row model={model} artifact={artifact} report={reports[i]!} sizes={sizes} shares={shares} times={times} />
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

interface RowProps {
  model: Model;
  artifact: ArtifactSummary;
  report: Report;
  sizes: Scale;
  shares: Scale;
  times: Scale;
}
function Row({ model, artifact, report, sizes, shares, times }: RowProps) {
  const { accuracy: acc, latency } = report;
  const weights = report.bytes.weightsBefore ?? model.weight_bytes;
  return (
    <>
      <td class="plot-cell" data-label="Bytes">
        <Bar kind="before" value={weights} scale={sizes} text={bytes(weights)} />
        <Bar kind="after" value={artifact.bytes} scale={sizes} text={bytes(artifact.bytes)} />
        <b class="gain">{ratio(weights / artifact.bytes)} smaller</b>
      </td>
      <td class="plot-cell" data-label="Accuracy">
        {acc.after ? (
          <>
            <Dot kind="before" at={acc.before} scale={shares} text={accuracy(acc.before?.value)} />
            <Dot kind="after" at={acc.after} scale={shares} text={accuracy(acc.after.value)} />
            {acc.n !== null && <span class="sub">{acc.n.toLocaleString("en-US")} samples{acc.split === SELECTION ? ", held out to choose by" : ""}</span>}
          </>
        ) : (
          <span class="sub">not measured: no data set</span>
        )}
      </td>
      <td class="plot-cell" data-label="Latency, p50">
        {latency.after ? (
          <>
            <Bar kind="before" value={latency.before?.p50_us ?? null} mark={latency.before?.p95_us} scale={times} text={micros(latency.before?.p50_us)} />
            <Bar kind="after" value={latency.after.p50_us} mark={latency.after.p95_us} scale={times} text={micros(latency.after.p50_us)} />
            <b class="gain">{faster(latency.before?.p50_us, latency.after.p50_us)}</b>
          </>
        ) : (
          <span class="sub">not measured</span>
        )}
      </td>
    </>
  );
}

function faster(before: number | null | undefined, after: number | null): string {
  if (!before || !after) return "";
  const gain = before / after;
  if (gain > 1.02) return `${gain.toFixed(gain < 10 ? 2 : 0)}× faster`;
  if (gain < 0.98) return `${(1 / gain).toFixed(2)}× slower`;
  return "as fast";
}
