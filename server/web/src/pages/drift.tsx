// What a model sees and says now against what it was made with: of one device, or of all that run an artifact.

import { useMemo, useState } from "preact/hooks";
import { query } from "../api/client";
import type { Drift, DriftFeature } from "../api/drift";
import { useResource } from "../api/resource";
import { useAnnotations, useKept } from "../api/use_annotations";
import { Chart } from "../plot/chart";
import { PairedBars, PairKey } from "../plot/paired_bars";
import { binWords, classPairs, psiTone, verdictWord } from "../text/drift";
import { date, part, plural, short } from "../text/format";
import { Choice } from "../ui/field";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Fact, Loaded, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { Inputs } from "./inputs";
import { PSI_ZONES } from "./model_telemetry";

const RANGES = [
  ["6", "6 h"],
  ["24", "24 h"],
  ["168", "7 d"],
  ["720", "30 d"],
  ["8760", "1 y"],
] as const;

export function DeviceDriftPage({ name }: { name: string }) {
  const device = encodeURIComponent(name);
  return (
    <Page title={`Drift of ${name}`} above={<Link href={`/devices/${device}`}>{name}</Link>} lead={LEAD}>
      <DriftOf path={`/devices/${device}/drift`} />
      <Inputs device={name} />
    </Page>
  );
}

export function ArtifactDriftPage({ digest }: { digest: string }) {
  return (
    <Page title={`Drift of ${digest.slice(0, 10)}`} above={<Link href="/models">Models</Link>} lead={LEAD}>
      <DriftOf path={`/artifacts/${encodeURIComponent(digest)}/drift`} />
    </Page>
  );
}

const LEAD = "Inputs and answers now, against the baseline that was taken when the artifact was made.";

function DriftOf({ path }: { path: string }) {
  const [search, setSearch] = useQuery();
  const hours = RANGES.find(([each]) => each === search.get("hours"))?.[0] ?? "24";
  const to = Math.ceil(useNow(60_000) / 60_000) * 60_000;
  const from = to - Number(hours) * 3_600_000;
  const artifact = search.get("artifact");
  const found = useResource<Drift>(path + query({ from, to, artifact }));
  const kept = useKept(found.value);
  const shown = { ...found, value: found.value ?? (found.error ? undefined : kept), loading: kept === undefined && !found.error };
  return (
    <>
      <div class="row apart">
        <Choice
          label="Range"
          value={hours}
          options={RANGES}
          onChange={(next) => setSearch({ hours: next === "24" ? null : next })}
          testid="drift-range"
        />
        {(shown.value?.artifacts.length ?? 0) > 1 && (
          <select
            class="inline"
            aria-label="Artifact"
            value={shown.value?.artifact ?? ""}
            onChange={(event) => setSearch({ artifact: event.currentTarget.value || null })}
            data-testid="drift-artifact"
          >
            {shown.value?.artifacts.map((each, i) => (
              <option key={each} value={each}>
                {each.slice(0, 10)}
                {i === 0 ? ", the newest" : ""}
              </option>
            ))}
          </select>
        )}
      </div>
      <Loaded from={shown} lines={8}>
        {(drift) => <DriftView drift={drift} />}
      </Loaded>
    </>
  );
}

function DriftView({ drift }: { drift: Drift }) {
  const { whole } = drift;
  return (
    <>
      <Card testid="drift">
        <p class="row">
          <Badge word={verdictWord[drift.verdict]} testid="drift-verdict" />
          <span>{sentence(drift)}</span>
        </p>
        {drift.artifact && (
          <dl class="facts">
            <Fact name="Model">
              {drift.model ? <Link href={`/models/${encodeURIComponent(drift.model)}?artifact=${drift.artifact}`}>{drift.model}</Link> : "–"}
              <span class="sub">
                <code>{drift.artifact.slice(0, 10)}</code>
                {drift.device && (
                  <>
                    , <Link href={`/artifacts/${drift.artifact}/drift`}>on all devices</Link>
                  </>
                )}
              </span>
            </Fact>
            <Fact name="Baseline">{drift.baseline_rows === null ? "none" : plural(drift.baseline_rows, "sample")}</Fact>
            {whole && <Fact name="Requests looked at">{whole.requests.toLocaleString("en-US")}</Fact>}
            {whole?.input_psi != null && (
              <Fact name="Inputs, PSI">
                <Psi value={whole.input_psi} />
                {whole.worst && <span class="sub">{whole.worst} is furthest</span>}
              </Fact>
            )}
            {whole?.output_psi != null && (
              <Fact name="Answers, PSI">
                <Psi value={whole.output_psi} />
              </Fact>
            )}
            {whole?.output_ks != null && <Fact name="Confidence, KS">{short(whole.output_ks)}</Fact>}
          </dl>
        )}
      </Card>
      {drift.steps && drift.steps.t.length > 0 && <OverTime drift={drift} />}
      {(drift.classes ?? drift.confidence) && (
        <div class="halves">
          {drift.classes && (
            <Card title="Answers by class" actions={<PairKey />} testid="drift-classes">
              <PairedBars pairs={classPairs(drift.classes.labels, drift.classes.expected, drift.classes.actual)} label="Answers by class" />
            </Card>
          )}
          {drift.confidence && (
            <Card title="Confidence" note="Share that the answer gives its class" actions={<PairKey />} testid="drift-confidence">
              <PairedBars
                upright
                label="Confidence"
                pairs={drift.confidence.expected.map((expected, i, all) => ({
                  label: part(i === all.length - 1 ? 1 : i / all.length).replace(".0", ""),
                  expected,
                  actual: drift.confidence?.actual?.[i] ?? null,
                }))}
              />
            </Card>
          )}
        </div>
      )}
      {drift.features.length > 0 && <Features drift={drift} />}
    </>
  );
}

const Psi = ({ value }: { value: number }) => <span class={`psi ${psiTone(value)}`}>{short(value)}</span>;

function sentence(drift: Drift): string {
  if (drift.why_unknown) return drift.why_unknown;
  switch (drift.verdict) {
    case "moved":
      return `What comes in or out differs much from the baseline${drift.whole?.worst ? `, most of all ${drift.whole.worst}` : ""}: accuracy measured then may not hold now.`;
    case "some":
      return "Something has changed; it may be the time of day, or the start of more. Look at what is furthest below.";
    default:
      return "Inputs and answers are distributed as they were in the data the artifact was made with.";
  }
}

function OverTime({ drift }: { drift: Drift }) {
  const steps = drift.steps!;
  const annotations = useAnnotations(drift.to_ms - drift.from_ms, drift.to_ms, { model: drift.model, device: drift.device });
  const lines = useMemo(
    () => ({
      psi: [
        { label: "inputs, the worst feature", line: { t: steps.t, v: steps.input_psi } },
        { label: "answers", line: { t: steps.t, v: steps.output_psi } },
      ],
      ks: [
        { label: "inputs, the worst feature", line: { t: steps.t, v: steps.input_ks } },
        { label: "confidence", line: { t: steps.t, v: steps.output_ks } },
      ],
    }),
    [steps],
  );
  const common = {
    format: short,
    rangeMs: drift.to_ms - drift.from_ms,
    stepMs: steps.step_ms,
    now: drift.to_ms,
    holes: 1,
    zero: true,
    annotations,
    absent: "Fewer than 50 requests in each step: too few to say.",
  };
  return (
    <div class="charts wide">
      <Chart {...common} title="PSI" note="below 0.1 stable" lines={lines.psi} zones={PSI_ZONES} testid="drift-psi" />
      <Chart {...common} title="KS" note="0 the same, 1 apart" lines={lines.ks} testid="drift-ks" />
    </div>
  );
}

const FIRST = 6;

function Features({ drift }: { drift: Drift }) {
  const [all, setAll] = useState(false);
  const shown = all ? drift.features : drift.features.slice(0, FIRST);
  return (
    <Card title="Features" note="The furthest first; bins hold a tenth of the baseline each, the outer ones are open" actions={<PairKey />} testid="drift-features">
      <div class="feature-grid">
        {shown.map((feature) => (
          <Feature key={feature.name} feature={feature} steps={drift.steps} />
        ))}
      </div>
      {drift.features.length > shown.length && (
        <button type="button" class="small" onClick={() => setAll(true)}>
          {plural(drift.features.length - shown.length, "more feature")}
        </button>
      )}
    </Card>
  );
}

function Feature({ feature, steps }: { feature: DriftFeature; steps: Drift["steps"] }) {
  const pairs = feature.expected.map((expected, i) => ({ label: binWords(feature, i), expected, actual: feature.actual?.[i] ?? null }));
  const worst = feature.step_psi.reduce<number>((most, value, i) => (value !== null && value > (feature.step_psi[most] ?? -1) ? i : most), 0);
  const worstAt = steps?.t[worst];
  return (
    <figure class="feature" data-testid={`drift-feature-${feature.name}`}>
      <figcaption>
        <b>{feature.name}</b> {feature.of === "answer" && <span class="tag">answer</span>}
        <span class="feature-figures">
          PSI {feature.psi === null ? "–" : <Psi value={feature.psi} />} KS {short(feature.ks)}
        </span>
      </figcaption>
      <PairedBars upright pairs={pairs} label={feature.name} />
      <p class="note">
        {feature.mean !== null && `Mean ${short(feature.mean)}. `}
        {(feature.step_psi[worst] ?? null) !== null && worstAt !== undefined && `Furthest ${date(worstAt)}: PSI ${short(feature.step_psi[worst])}.`}
      </p>
    </figure>
  );
}
