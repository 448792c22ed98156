// The last hour of the whole fleet, with what happened in it.

import { useMemo, useState } from "preact/hooks";
import type { Overview } from "../api/overview";
import { useAnnotations } from "../api/use_annotations";
import { Chart } from "../plot/chart";
import { micros, part, perSecond } from "../text/format";
import { Choice } from "../ui/field";

const HOUR_MS = 3_600_000;
const SHOWN = [
  ["latency", "Latency"],
  ["load", "Inferences"],
  ["errors", "Errors"],
] as const;
type Shown = (typeof SHOWN)[number][0];

export function FleetCharts({ of }: { of: Overview["sparklines"] }) {
  const [shown, setShown] = useState<Shown>("latency");
  const now = (of.t[of.t.length - 1] ?? Date.now()) + of.step_ms;
  const annotations = useAnnotations(HOUR_MS, now);
  const lines = useMemo(() => {
    const line = (name: string) => ({ t: of.t, v: of.series[name] ?? [] });
    return {
      latency: (["p50_us", "p95_us", "p99_us"] as const).map((name) => ({ label: name.slice(0, 3), line: line(name) })),
      load: [{ label: "all devices together", line: line("inferences_per_s") }],
      errors: [{ label: "share of the requests", line: line("error_ratio") }],
    };
  }, [of]);
  const common = { rangeMs: HOUR_MS, stepMs: of.step_ms, now, height: 214, annotations };
  return (
    <section class="fleet-charts" aria-label="The last hour" data-testid="fleet-charts">
      <div class="fleet-charts-choice">
        <Choice label="What to draw" value={shown} options={SHOWN} onChange={setShown} />
      </div>
      {shown === "latency" && <Chart {...common} title="The last hour" lines={lines.latency} format={micros} testid="chart-fleet-latency" />}
      {shown === "load" && <Chart {...common} title="The last hour" lines={lines.load} format={perSecond} zero testid="chart-fleet-load" />}
      {shown === "errors" && <Chart {...common} title="The last hour" lines={lines.errors} format={part} zero testid="chart-fleet-errors" />}
    </section>
  );
}
