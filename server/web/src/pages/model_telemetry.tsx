// A model in the field: who runs what, how fast, before and after each release, and whether it is as was predicted.

import { useMemo } from "preact/hooks";
import { query } from "../api/client";
import { useResource } from "../api/resource";
import type { Field, FieldArtifact, FieldRelease } from "../api/telemetry";
import { useAnnotations, useKept } from "../api/use_annotations";
import { Bar } from "../plot/bars";
import { Chart } from "../plot/chart";
import { MAX_LINES } from "../plot/colors";
import { fromZero } from "../plot/scale";
import { artifactName, ratioWords } from "../text/field";
import { bytes, date, digest, micros, millijoules, part, perSecond, plural, short } from "../text/format";
import { Choice } from "../ui/field";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Card, Empty, Loaded, Meter, Notice } from "../ui/parts";
import { useQuery } from "../ui/route";
import { BeforeAfter } from "./before_after";

const RANGES = [
  ["6", "6 h"],
  ["24", "24 h"],
  ["168", "7 d"],
  ["720", "30 d"],
] as const;
const METRICS = [
  ["p95_us", "p95"],
  ["p50_us", "p50"],
  ["error_ratio", "Errors"],
  ["inferences_per_s", "Requests"],
  ["rss_bytes", "Memory"],
  ["energy_mj", "Energy"],
  ["input_psi", "Drift"],
] as const;
type Shown = (typeof METRICS)[number][0];
const FORMAT: Record<Shown, (value: number | null) => string> = {
  p95_us: micros,
  p50_us: micros,
  error_ratio: part,
  inferences_per_s: perSecond,
  rss_bytes: bytes,
  energy_mj: millijoules,
  input_psi: short,
};

/** The range of a page about a model, in its address; the right edge moves on once a minute. */
export function useFieldRange(): [string, (hours: string) => void, number, number] {
  const [search, setSearch] = useQuery();
  const now = Math.ceil(useNow(60_000) / 60_000) * 60_000;
  const hours = RANGES.find(([each]) => each === search.get("hours"))?.[0] ?? "24";
  return [hours, (next) => setSearch({ hours: next === "24" ? null : next }), now - Number(hours) * 3_600_000, now];
}

export function ModelField({ model }: { model: string }) {
  const [hours, setHours, from, to] = useFieldRange();
  const found = useResource<Field>(`/models/${encodeURIComponent(model)}/telemetry${query({ from, to })}`);
  const kept = useKept(found.value);
  const shown = { ...found, value: found.value ?? (found.error ? undefined : kept), loading: kept === undefined && !found.error };
  return (
    <>
      <div class="row apart">
        <Choice label="Range" value={hours} options={RANGES} onChange={setHours} testid="field-range" />
        <Link href={`/telemetry${query({ metric: "latency_us", aggregate: "p95", group_by: "artifact", model })}`} class="button small">
          Ask freely
        </Link>
      </div>
      <Loaded from={shown} lines={8}>
        {(field) =>
          field.artifacts.length === 0 && field.profiles.every((each) => each.devices === 0) ? (
            <Card>
              <Empty icon="chart" title="No device runs it">
                Push the model to devices: what they measure then stands here.
              </Empty>
            </Card>
          ) : (
            <FieldView field={field} />
          )
        }
      </Loaded>
    </>
  );
}

export function FieldView({ field }: { field: Field }) {
  const profiles = new Set(field.artifacts.map((each) => each.profile)).size;
  return (
    <>
      {field.left_out > 0 && (
        <Notice tone="warn">
          <p>{plural(field.left_out, "artifact")} more ran in this time; those with the most requests are shown.</p>
        </Notice>
      )}
      <ByProfile field={field} />
      <OverTime field={field} profiles={profiles} />
      <ByArtifact field={field} profiles={profiles} />
      <Releases field={field} />
      <Predicted field={field} profiles={profiles} />
    </>
  );
}

function ByProfile({ field }: { field: Field }) {
  if (field.profiles.length === 0) return null;
  const nameOf = (hash: string) => field.artifacts.find((each) => each.digest === hash)?.recipe ?? digest(hash);
  return (
    <Card flush title="Devices by profile" testid="field-profiles">
      <div class="table-box" tabIndex={0} role="region" aria-label="Devices by profile">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Profile</th>
              <th scope="col" class="num">
                Devices
              </th>
              <th scope="col">They run</th>
            </tr>
          </thead>
          <tbody>
            {field.profiles.map((each) => {
              const running = Object.entries(each.running).sort((a, b) => b[1] - a[1]);
              return (
                <tr key={each.profile}>
                  <th scope="row">
                    <Link href={`/profiles/${encodeURIComponent(each.profile)}`}>{each.profile}</Link>
                  </th>
                  <td class="num">
                    {each.devices.toLocaleString("en-US")}
                    <span class="sub">{each.online.toLocaleString("en-US")} online</span>
                  </td>
                  <td class="grow wide">
                    <ul class="shares">
                      {running.map(([hash, devices]) => (
                        <li key={hash}>
                          <span>
                            {nameOf(hash)} <span class="note">{digest(hash)}</span>
                          </span>
                          <Meter value={each.devices === 0 ? 0 : devices / each.devices} label={`Share of ${nameOf(hash)}`} />
                          <b>{devices.toLocaleString("en-US")}</b>
                        </li>
                      ))}
                    </ul>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function OverTime({ field, profiles }: { field: Field; profiles: number }) {
  const [search, setSearch] = useQuery();
  const some = METRICS.filter(([key]) => field.artifacts.some((each) => each.series[key]?.some((value) => value !== null)));
  const shown: Shown = some.find(([key]) => key === search.get("show"))?.[0] ?? some[0]?.[0] ?? "p95_us";
  const annotations = useAnnotations(field.to - field.from, field.to, { model: field.model });
  const drawn = field.artifacts.slice(0, MAX_LINES);
  const lines = useMemo(
    () => drawn.map((each) => ({ label: `${artifactName(each, profiles)} (${each.digest.slice(0, 6)})`, line: { t: field.t, v: each.series[shown] ?? [] } })),
    [field, shown, profiles],
  );
  const title = { p95_us: "Latency, p95", p50_us: "Latency, p50", error_ratio: "Share of requests that failed", inferences_per_s: "Requests of a device", rss_bytes: "Agent's memory", energy_mj: "Energy of an inference", input_psi: "Input drift, PSI" }[shown];
  return (
    <div class="stack tight">
      {some.length > 1 && <Choice label="Figure" value={shown} options={some} onChange={(show) => setSearch({ show: show === "p95_us" ? null : show })} testid="field-show" />}
      <Chart
        title={title}
        lines={lines}
        format={FORMAT[shown]}
        rangeMs={field.to - field.from}
        stepMs={field.step_ms}
        now={field.to}
        holes={1}
        height={240}
        zero={shown !== "rss_bytes"}
        fit
        zones={shown === "input_psi" ? PSI_ZONES : undefined}
        annotations={annotations}
        testid="field-chart"
        absent="No device that runs it reported this."
        compact
      />
    </div>
  );
}

export const PSI_ZONES = [
  { low: 0.1, high: 0.25, tone: "warn" as const, label: "some drift from 0.1" },
  { low: 0.25, high: null, tone: "bad" as const, label: "drift from 0.25" },
];

function ByArtifact({ field, profiles }: { field: Field; profiles: number }) {
  if (field.artifacts.length === 0) return null;
  const columns: readonly (readonly [string, (each: FieldArtifact) => string, string])[] = [
    ["Devices", (each) => `${each.devices.toLocaleString("en-US")}`, ""],
    ["p50", ({ figures }) => micros(figures.p50_us), ""],
    ["p95", ({ figures }) => micros(figures.p95_us), ""],
    ["p99", ({ figures }) => micros(figures.p99_us), ""],
    ["Errors", ({ figures }) => part(figures.error_ratio), ""],
    ["Memory", ({ figures }) => bytes(figures.rss_bytes), "col-2"],
    ["Energy", ({ figures }) => millijoules(figures.energy_mj), "col-2"],
    ["Requests", ({ figures }) => short(figures.inferences), "col-3"],
    ["Drift", ({ figures }) => short(figures.input_psi), "col-3"],
  ];
  return (
    <Card flush title="By artifact" note={`${date(field.from)} to ${date(field.to)}, all devices merged`} testid="field-artifacts">
      <div class="table-box" tabIndex={0} role="region" aria-label="By artifact">
        <table>
          <thead>
            <tr>
              <th scope="col">Artifact</th>
              {columns.map(([title, , extra]) => (
                <th key={title} scope="col" class={`num ${extra}`}>
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {field.artifacts.map((each) => (
              <tr key={each.digest + each.profile} data-testid={`field-artifact-${each.digest.slice(0, 10)}`}>
                <th scope="row">
                  <Link href={`/models/${encodeURIComponent(field.model)}?artifact=${each.digest}`}>{artifactName(each, profiles)}</Link>
                  <span class="sub">
                    {bytes(each.bytes)}, <Link href={`/artifacts/${each.digest}/drift`}>drift</Link>
                  </span>
                </th>
                {columns.map(([title, text, extra]) => (
                  <td key={title} class={`num ${extra}`}>
                    {text(each)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function Releases({ field }: { field: Field }) {
  const told = field.releases
    .map((release) => ({ ...release, profiles: release.profiles.filter((each) => each.before !== null || each.after !== null) }))
    .filter((release) => release.profiles.length > 0)
    .sort((a, b) => b.counter - a.counter);
  if (told.length === 0) return null;
  return (
    <Card title="Before and after each release" note="24 h of the artifact before, against 24 h from the first use of the new one" testid="field-releases">
      {told.map((release, i) => (
        <details class="more release-step" key={release.id} open={i === 0}>
          <summary>
            Release {release.counter}, {date(release.created_at)} <span class="note">{verdict(release)}</span>
          </summary>
          <div class="stack">
            {release.profiles.map((each) => (
              <div key={each.profile} class="stack tight">
                <h3>
                  {each.profile} <span class="note">{each.previous ? `${digest(each.previous)} → ` : ""}{digest(each.digest)}</span>
                </h3>
                <BeforeAfter names={["before", "after"]} before={each.before} after={each.after} />
              </div>
            ))}
          </div>
        </details>
      ))}
    </Card>
  );
}

function verdict(release: FieldRelease): string {
  const changes = release.profiles.flatMap(({ before, after }) =>
    before?.p95_us && after?.p95_us ? [(after.p95_us / before.p95_us - 1) * 100] : [],
  );
  if (changes.length === 0) return "";
  const words = (value: number) => `${value > 0 ? "+" : "−"}${short(Math.abs(Math.round(value)))} %`;
  const [low, high] = [Math.min(...changes), Math.max(...changes)];
  return Math.round(low) === Math.round(high) ? `p95 ${words(low)}` : `p95 ${words(low)} to ${words(high)}`;
}

function Predicted({ field, profiles }: { field: Field; profiles: number }) {
  const known = field.artifacts.filter((each) => each.predicted !== null && (each.measured?.p50_us ?? null) !== null);
  if (known.length === 0) return null;
  const scale = fromZero(known.flatMap((each) => [each.predicted!.latency_us, each.measured!.p50_us]));
  return (
    <Card flush title="Predicted against measured" note="Latency of one inference, median" testid="field-predicted">
      <div class="table-box">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Artifact</th>
              <th scope="col">Measured, and predicted below</th>
              <th scope="col">Prediction</th>
            </tr>
          </thead>
          <tbody>
            {known.map((each) => (
              <tr key={each.digest + each.profile}>
                <th scope="row">
                  {artifactName(each, profiles)}
                  <span class="sub">
                    {plural(each.measured!.devices, "device")}, {short(each.measured!.inferences)} requests
                  </span>
                </th>
                <td class="grow">
                  <Bar value={each.measured!.p50_us} mark={each.measured!.p95_us} scale={scale} text={micros(each.measured!.p50_us)} kind="after" />
                  <Bar value={each.predicted!.latency_us} scale={scale} text={micros(each.predicted!.latency_us)} kind="before" />
                </td>
                <td>
                  {ratioWords(each.ratio)}
                  <span class="sub">
                    from the {each.predicted!.basis}
                    {each.predicted!.error !== null && `, ± ${part(each.predicted!.error)} expected`}
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

