// One artifact: what each stage did, where the bytes went, warnings, how to make it again.

import type { Artifact } from "../api/types";
import { clearlyWorse, readReport, type Report } from "../plot/report";
import { steps } from "../plot/sizes";
import { bytes, count, part } from "../text/format";
import { Icon } from "../ui/icon";
import { Card, CopyButton, Notice } from "../ui/parts";
import { FallCard, PartsCard } from "./artifact_bytes";
import { ArtifactTelemetry } from "./artifact_telemetry";
import { FilterCards, SensitivityCards, StagesCard } from "./artifact_stages";

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
            {verdict(report)} {memoryWords(report)} {costWords(report)} <code title={artifact.digest}>{artifact.digest.slice(0, 16)}</code>
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
      <ArtifactTelemetry digest={artifact.digest} model={artifact.model} />
      <StagesCard report={report} end={artifact.bytes} />
      <SensitivityCards stages={report.stages} />
      <FilterCards stages={report.stages} />
      {falls ? <FallCard steps={falls} /> : parts}
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

/** Counted figures that changed. */
function costWords({ costs: { before, after } }: Report): string {
  const words: string[] = [];
  const change = (name: string, from: number | null, to: number | null, text: (value: number) => string) => {
    if (from && to && Math.abs(from / to - 1) >= 0.01) words.push(`${name} ${text(to)}, before ${text(from)}`);
  };
  change("FLOPs", before.flops, after.flops, count);
  change("Parameters", before.parameters, after.parameters, count);
  change("Peak of activations", before.peakBytes, after.peakBytes, bytes);
  if (after.sparsity !== null && after.sparsity - (before.sparsity ?? 0) >= 0.001) words.push(`${part(after.sparsity)} zeros`);
  return words.map((each) => `${each}.`).join(" ");
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
