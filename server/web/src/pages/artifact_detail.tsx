// One artifact: what each stage did, where the bytes went, warnings, how to make it again.

import type { Artifact } from "../api/types";
import { Bar } from "../plot/bars";
import { clearlyWorse, readReport, type Report, type Stage } from "../plot/report";
import { fromZero } from "../plot/scale";
import { steps } from "../plot/sizes";
import { accuracy, bytes, part, seconds, short } from "../text/format";
import { Icon } from "../ui/icon";
import { Card, CopyButton, Notice } from "../ui/parts";
import { FallCard, PartsCard } from "./artifact_bytes";

export function ArtifactDetail({ artifact }: { artifact: Artifact }) {
  const report = readReport(artifact.report);
  const falls = steps(report.tensors);
  const parts = report.tensors.length > 0 && (
    <PartsCard parts={report.tensors} total={artifact.bytes} wide={falls !== null} />
  );
  return (
    <section class="stack" aria-label={`Artifact for ${artifact.profile}`} data-testid="artifact-detail">
      <div class="row apart">
        <div>
          <h2>
            {artifact.recipe} for {artifact.profile}
          </h2>
          <p class="note">
            {verdict(report)} {memoryWords(report)} <code title={artifact.digest}>{artifact.digest.slice(0, 16)}</code>
          </p>
        </div>
        <a class="button small" href={`/api/v1/artifacts/${artifact.digest}/file`} download data-testid="artifact-download">
          <Icon name="download" />
          Download, {bytes(artifact.bytes)}
        </a>
      </div>
      {report.warnings.map((warning) => (
        <Notice key={warning} tone="warn">
          <p>{warning}</p>
        </Notice>
      ))}
      <div class="one-two">
        <Card
          flush
          title="Stages"
          note={
            report.stages.some((stage) => stage.accuracy !== null)
              ? "Bytes are estimates; accuracy on the way is not of the test split"
              : "Bytes on the way are estimates"
          }
        >
          <StageTable stages={report.stages} start={report.bytes.weightsBefore} end={artifact.bytes} />
        </Card>
        {falls ? <FallCard steps={falls} /> : parts}
      </div>
      {falls && parts}
      {report.command && (
        <Card title="Make it again" actions={<CopyButton text={report.command} label="Copy" />}>
          <pre class="command">{report.command}</pre>
        </Card>
      )}
    </section>
  );
}

function memoryWords({ memory }: Report): string {
  if (memory.before === null || memory.after === null) return "";
  return `Memory to load and run it: ${bytes(memory.after)}, before ${bytes(memory.before)}.`;
}

function verdict(report: Report): string {
  const { before, after } = report.accuracy;
  if (!before || !after) return "Its accuracy was not measured.";
  const points = (after.value - before.value) * 100;
  const change =
    Math.abs(points) < 0.005 ? "Same accuracy" : `${Math.abs(points).toFixed(2)} points ${points < 0 ? "below" : "above"} the original`;
  const worse = clearlyWorse(before, after);
  return `${change}${worse === null ? "." : worse ? ", more than chance." : ", within its 95 % interval."}`;
}

const NO_STAGE = { seconds: null, nonzero: null, bits: null, accuracy: null, note: null };

function StageTable({ stages, start, end }: { stages: readonly Stage[]; start: number | null; end: number }) {
  const rows: Stage[] = [
    { ...NO_STAGE, name: "original weights", bytes: start },
    ...stages,
    { ...NO_STAGE, name: "artifact", bytes: end },
  ];
  const scale = fromZero(rows.map((each) => each.bytes));
  const some = (of: (stage: Stage) => number | null) => stages.some((stage) => of(stage) !== null);
  const [kept, bits, acc] = [some((s) => s.nonzero), some((s) => s.bits), some((s) => s.accuracy)];
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Stages">
      <table>
        <thead>
          <tr>
            <th scope="col">Stage</th>
            <th scope="col">Bytes</th>
            {kept && (
              <th scope="col" class="num col-2">
                Kept
              </th>
            )}
            {bits && (
              <th scope="col" class="num col-2">
                Bits
              </th>
            )}
            {acc && (
              <th scope="col" class="num">
                Accuracy
              </th>
            )}
            <th scope="col" class="num col-2">
              Time
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((each, i) => (
            <tr key={i}>
              <th scope="row">
                {each.name}
                {each.note && <span class="sub">{each.note}</span>}
              </th>
              <td class="grow">
                {each.bytes === null ? (
                  <span class="sub">not estimated</span>
                ) : (
                  <Bar kind={i === 0 ? "before" : "after"} value={each.bytes} scale={scale} text={bytes(each.bytes)} />
                )}
              </td>
              {kept && <td class="num col-2">{each.nonzero === null ? "" : part(each.nonzero)}</td>}
              {bits && <td class="num col-2">{each.bits === null ? "" : short(each.bits)}</td>}
              {acc && <td class="num">{each.accuracy === null ? "" : accuracy(each.accuracy)}</td>}
              <td class="num col-2">{each.seconds === null ? "" : seconds(each.seconds)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
