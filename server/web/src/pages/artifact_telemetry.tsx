// One artifact in the field, on the page that shows how it was made.

import { query } from "../api/client";
import { useResource } from "../api/resource";
import type { Field } from "../api/telemetry";
import { Chart } from "../plot/chart";
import { bytes, micros, millijoules, part, plural, short } from "../text/format";
import { ratioWords } from "../text/field";
import { useAnnotations, useKept } from "../api/use_annotations";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Card, Fact } from "../ui/parts";

const RANGE_MS = 86_400_000;

/** Nothing where no device ran it in the last 24 h. */
export function ArtifactTelemetry({ digest, model }: { digest: string; model: string }) {
  const to = Math.ceil(useNow(60_000) / 60_000) * 60_000;
  const field = useKept(useResource<Field>(`/artifacts/${digest}/telemetry${query({ from: to - RANGE_MS, to })}`).value);
  const annotations = useAnnotations(RANGE_MS, to, { model });
  const mine = field?.artifacts.find((each) => each.figures.inferences > 0) ?? field?.artifacts[0];
  if (!field || !mine || (mine.devices === 0 && mine.figures.inferences === 0)) return null;
  const { figures } = mine;
  const lines = (["p50_us", "p95_us", "p99_us"] as const).map((key) => ({
    label: key.slice(0, 3),
    line: { t: field.t, v: mine.series[key] ?? [] },
  }));
  return (
    <Card
      title="In the field, last 24 h"
      note={`${plural(mine.devices, "device")} run it, ${mine.online.toLocaleString("en-US")} online`}
      actions={
        <>
          <Link href={`/artifacts/${digest}/drift`} class="button small">
            Drift
          </Link>
          <Link href={`/models/${encodeURIComponent(model)}?tab=field`} class="button small">
            All artifacts
          </Link>
        </>
      }
      testid="artifact-telemetry"
    >
      <dl class="facts">
        <Fact name="p50 / p95 / p99">
          {micros(figures.p50_us)} / {micros(figures.p95_us)} / {micros(figures.p99_us)}
        </Fact>
        <Fact name="Requests">
          {short(figures.inferences)}
          <span class="sub">{part(figures.error_ratio)} failed</span>
        </Fact>
        <Fact name="Agent's memory">{bytes(figures.rss_bytes)}</Fact>
        {figures.energy_mj !== null && <Fact name="Energy of an inference">{millijoules(figures.energy_mj)}</Fact>}
        {figures.input_psi !== null && <Fact name="Input drift, PSI">{short(figures.input_psi)}</Fact>}
        {mine.predicted && (
          <Fact name="Predicted">
            {micros(mine.predicted.latency_us)}
            <span class="sub">{ratioWords(mine.ratio)}</span>
          </Fact>
        )}
      </dl>
      {figures.inferences > 0 && (
        <Chart
          title="Latency of one inference"
          lines={lines}
          format={micros}
          rangeMs={field.to - field.from}
          stepMs={field.step_ms}
          now={field.to}
          holes={1}
          zero
          fit
          annotations={annotations}
          testid="artifact-latency"
        />
      )}
    </Card>
  );
}
