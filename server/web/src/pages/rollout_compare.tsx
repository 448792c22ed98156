// Canary against control: devices of the rollout beside devices of the same profile that were not told, same charts.

import { useMemo, useState } from "preact/hooks";
import { touches, useResource } from "../api/resource";
import type { Compare } from "../api/telemetry";
import { Chart, type Mark } from "../plot/chart";
import type { Annotation } from "../plot/annotations";
import { bytes, micros, millijoules, part, perSecond, plural, short } from "../text/format";
import { Choice } from "../ui/field";
import { Card, Failure, Skeleton } from "../ui/parts";
import { BeforeAfter } from "./before_after";

const CHARTS = [
  ["p95_us", "Latency, p95", micros],
  ["error_ratio", "Share of requests that failed", part],
  ["rss_bytes", "Agent's memory", bytes],
  ["energy_mj", "Energy of an inference", millijoules],
  ["inferences_per_s", "Requests of a device", perSecond],
  ["input_psi", "Input drift, PSI", short],
] as const;

export function RolloutCompare({ id, marks }: { id: string; marks: readonly Mark[] }) {
  const found = useResource<Compare>(`/rollouts/${encodeURIComponent(id)}/compare`, { on: touches("rollout", id), everyMs: 5000, pollMs: 30_000 });
  const [profile, setProfile] = useState<string | null>(null);
  if (found.value === undefined) {
    return found.error ? (
      found.error.status === 404 ? null : <Failure error={found.error} retry={found.reload} />
    ) : (
      <Card title="Canary against control">
        <Skeleton lines={3} />
      </Card>
    );
  }
  const { profiles } = found.value;
  const measured = profiles.filter((each) => each.canary.devices > 0);
  if (measured.length === 0) return null;
  const here = measured.find((each) => each.profile === profile) ?? [...measured].sort((a, b) => slower(b) - slower(a))[0]!;
  return (
    <Card
      title="Canary against control"
      note="Devices that were told, beside those of the same profile that were not"
      actions={
        measured.length > 1 && (
          <Choice label="Profile" value={here.profile} options={measured.map((each) => [each.profile, each.profile] as const)} onChange={setProfile} testid="compare-profile" />
        )
      }
      testid="rollout-compare"
    >
      <Arms compare={found.value} of={here} marks={marks} />
    </Card>
  );
}

/** How many times slower than its control, or than before: the profile that needs a look comes first. */
function slower({ canary, control, before }: Compare["profiles"][number]): number {
  const usual = control.figures?.p95_us ?? before?.p95_us;
  return usual && canary.figures?.p95_us ? canary.figures.p95_us / usual : 0;
}

function Arms({ compare, of, marks }: { compare: Compare; of: Compare["profiles"][number]; marks: readonly Mark[] }) {
  const alone = of.control.devices === 0;
  const charts = CHARTS.filter(([key]) => [of.canary, of.control].some((arm) => arm.series[key]?.some((value) => value !== null)));
  const annotations = useMemo<Annotation[]>(
    () => [
      ...(compare.told_at === null ? [] : [{ at: compare.told_at, label: "first device told", kind: "rollout" }]),
      ...marks.map((mark) => ({ at: mark.at, label: mark.label, kind: "rollout" })),
    ],
    [compare.told_at, marks],
  );
  const lines = useMemo(
    () =>
      Object.fromEntries(
        charts.map(([key]) => [
          key,
          [
            { label: `told (${of.canary.devices})`, line: { t: compare.t, v: of.canary.series[key] ?? [] } },
            ...(alone ? [] : [{ label: `control (${of.control.devices})`, line: { t: compare.t, v: of.control.series[key] ?? [] } }]),
          ],
        ]),
      ),
    [compare, of],
  );
  return (
    <>
      {alone && <p class="note">Every device of {of.profile} is told, so there is no control any more: compare with the time before.</p>}
      <div class="halves">
        <div class="stack tight">
          <h3>Told, against before they were told</h3>
          <BeforeAfter names={["before", "told"]} before={of.before} after={of.canary.figures} />
        </div>
        {!alone && (
          <div class="stack tight">
            <h3>Told, against control at the same time</h3>
            <BeforeAfter names={["control", "told"]} before={of.control.figures} after={of.canary.figures} />
          </div>
        )}
      </div>
      <div class="charts">
        {charts.map(([key, title, format]) => (
          <Chart
            key={key}
            title={title}
            lines={lines[key]!}
            format={format}
            rangeMs={compare.to - compare.from}
            stepMs={compare.step_ms}
            now={compare.to}
            holes={1}
            zero={key !== "rss_bytes"}
            fit
            annotations={annotations}
            testid={`compare-${key}`}
          />
        ))}
      </div>
      <p class="note">
        {plural(of.canary.devices, "device")} told{of.canary.names.length > 0 && `, such as ${of.canary.names.slice(0, 4).join(", ")}`}
        {!alone && `; ${plural(of.control.devices, "device")} as control`}.
      </p>
    </>
  );
}
