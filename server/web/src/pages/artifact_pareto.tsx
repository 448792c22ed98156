// All artifacts of a model in two plots: what accuracy costs in bytes and in time.

import type { ArtifactSummary, Model } from "../api/types";
import { points, SELECTION } from "../plot/pareto";
import { readReport } from "../plot/report";
import { Scatter } from "../plot/scatter";
import { accuracy, bytes, micros } from "../text/format";
import { Card } from "../ui/parts";

interface Props {
  model: Model;
  artifacts: readonly ArtifactSummary[];
  chosen: string;
  onChoose: (digest: string) => void;
}
export function ParetoCards({ model, artifacts, chosen, onChoose }: Props) {
  const all = points(artifacts);
  const measured = all.filter((each) => each.accuracy !== null);
  if (measured.length < 2) return null; // one dot compares with nothing
  const reports = artifacts.map((each) => readReport(each.report));
  const before = reports.find((each) => each.accuracy.before !== null && each.accuracy.split !== SELECTION);
  const times = reports.flatMap((each) => each.latency.before?.p50_us ?? []).sort((a, b) => a - b);
  const share = before?.accuracy.before?.value ?? null;
  const shared = { points: all, accuracy, chosen, onChoose };
  const note = "Left and up is better; grey: another is no worse in both";
  return (
    <div class="halves" data-testid="pareto">
      <Card title="Accuracy against bytes" note={note}>
        <Scatter
          {...shared}
          label="Accuracy against bytes"
          cost={(each) => each.bytes}
          title="bytes"
          format={bytes}
          original={{ cost: model.weight_bytes, accuracy: share }}
        />
      </Card>
      <Card title="Accuracy against latency" note={note}>
        <Scatter
          {...shared}
          label="Accuracy against latency"
          cost={(each) => each.latency_us}
          title="latency on this server, p50"
          format={micros}
          original={{ cost: times[Math.floor(times.length / 2)] ?? null, accuracy: share }}
        />
      </Card>
    </div>
  );
}
