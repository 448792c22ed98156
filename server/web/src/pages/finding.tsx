import { useState } from "preact/hooks";
import { post } from "../api/client";
import type { Finding, FindingStep } from "../api/findings";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { useWindow } from "../api/use_window";
import { Chart } from "../plot/chart";
import { MAX_LINES } from "../plot/colors";
import { line, stepFor } from "../plot/series";
import { chartOf, findingWords, isOver, kindWords, sentence, stepHref, stepWord } from "../text/findings";
import { date, digest, plural, time } from "../text/format";
import { Confirm, useAction } from "../ui/dialog";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Fact, Failure, Loaded, Message, Page } from "../ui/parts";

const BEFORE_MS = 5 * 60_000; // shown of the time before it was missed
const AFTER_MS = 2 * 60_000; // and after it was over

export function FindingPage({ id }: { id: string }) {
  const finding = useResource<Finding>(`/findings/${encodeURIComponent(id)}`, { on: touches("finding", id), everyMs: 400 });
  const value = finding.value;
  return (
    <Page
      title={value ? `${value.model} on ${value.scope === "profile" ? value.profile : value.devices.join(", ")}` : "Finding"}
      above={<Link href="/findings">Findings</Link>}
    >
      <Loaded from={finding} lines={8}>
        {(found) => (
          <>
            <Summary finding={found} />
            <Telemetry finding={found} />
            <Story finding={found} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Summary({ finding }: { finding: Finding }) {
  return (
    <Card
      testid="finding"
      title={
        <span class="row">
          {isOver(finding.state) ? "A budget was missed" : "A budget is missed"}
          <Badge word={findingWords[finding.state]} testid="finding-state" />
        </span>
      }
      actions={<Buttons finding={finding} />}
    >
      <p data-testid="finding-sentence">{sentence(finding.sentence)}</p>
      {finding.message && (
        <p class="note" aria-live="polite" data-testid="finding-message">
          <Message text={finding.message} />
        </p>
      )}
      <dl class="facts">
        <Fact name="Model">
          <Link href={`/models/${encodeURIComponent(finding.model)}?artifact=${finding.digest}`}>
            {finding.model} <code>{digest(finding.digest)}</code>
          </Link>
        </Fact>
        <Fact name="Profile">
          <Link href={`/profiles/${encodeURIComponent(finding.profile)}`}>{finding.profile}</Link>
        </Fact>
        <Fact name="Devices that miss it">
          {finding.devices.map((name, i) => (
            <span key={name}>
              {i > 0 && ", "}
              <Link href={`/devices/${name}`}>{name}</Link>
            </span>
          ))}{" "}
          <span class="note">
            of {plural(finding.judged, "judged device")}, {plural(finding.inferences, "inference")}
          </span>
        </Fact>
        <Fact name="Since">{date(finding.since)}</Fact>
        {finding.rollout && (
          <Fact name="Came with">
            <Link href={`/rollouts/${finding.rollout}`}>this rollout</Link>
          </Fact>
        )}
        {finding.new_rollout && (
          <Fact name="Led to">
            <Link href={`/rollouts/${finding.new_rollout}`}>this rollout</Link>
          </Fact>
        )}
        {finding.next_try_at !== null && finding.state === "open" && (
          <Fact name="Tried again">{date(finding.next_try_at)} at the earliest</Fact>
        )}
      </dl>
    </Card>
  );
}

function Telemetry({ finding }: { finding: Finding }) {
  const now = useNow();
  const { metric, format, limit } = chartOf(finding);
  const devices = finding.devices.slice(0, MAX_LINES);
  const from = finding.since - BEFORE_MS;
  const to = finding.ended_at === null ? null : finding.ended_at + AFTER_MS;
  const open = to === null || to > now;
  // A round step: the window grows without being read anew with each second.
  const stepMs = stepFor(Math.max((open ? now : to) - from, 60_000));
  const all = useWindow(devices, metric, from, open ? null : to, stepMs);
  const end = open ? now : to;
  // Older telemetry is kept by the minute: the server says how far apart its answers are.
  const drawnMs = Math.max(stepMs, ...[...all.of.values()].map((series) => series.step_ms ?? 0));
  const marks = finding.steps.map((step) => ({ at: step.at, label: String(step.number) }));
  return (
    <>
      {all.error && <Failure error={all.error} />}
      <Chart
        title={kindWords[finding.kind]}
        note={finding.devices.length > devices.length ? `${devices.length} of ${finding.devices.length} devices` : "numbers: the steps below"}
        lines={devices.map((name) => ({ label: name, line: line(all.of.get(name), metric) }))}
        format={format}
        limit={limit}
        marks={marks}
        rangeMs={end - from}
        stepMs={drawnMs}
        now={end}
        loading={all.loading}
        height={220}
        testid="finding-chart"
        absent="No telemetry of that time is kept any more."
      />
    </>
  );
}

function Story({ finding }: { finding: Finding }) {
  return (
    <Card title="What happened" testid="finding-story">
      <ol class="story">
        {finding.steps.map((step) => (
          <StoryStep key={step.number} step={step} />
        ))}
      </ol>
    </Card>
  );
}

const ABOUT: Record<string, string> = { search: "See the search and its front", rollout: "See the rollout", profile: "See the profile" };

function StoryStep({ step }: { step: FindingStep }) {
  const word = stepWord(step.what);
  const href = stepHref(step.about, step.about_id);
  return (
    <li class={word.tone} data-testid={`step-${step.what}`}>
      <span class="story-no" aria-hidden="true">
        {step.number}
      </span>
      <div>
        <p class="row">
          <b>{word.text}</b>
          <time class="note" dateTime={new Date(step.at).toISOString()} title={date(step.at)}>
            {time(step.at)}
          </time>
        </p>
        <p>
          <Message text={sentence(step.sentence)} />
        </p>
        {href && <Link href={href}>{ABOUT[step.about ?? ""] ?? "See it"}</Link>}
      </div>
    </li>
  );
}

function Buttons({ finding }: { finding: Finding }) {
  const may = useMay("operator");
  const [dismissing, setDismissing] = useState(false);
  const order = (what: string, body: unknown = {}) => () => post(`/findings/${finding.id}/${what}`, body);
  const whole = useAction(order("accept", { release: true }));
  const search = useAction(order("accept", { release: false }));
  if (!may || isOver(finding.state)) return null;
  const ready = finding.state === "proposed" && finding.search !== null;
  const acceptable = finding.scope === "profile" && (finding.state === "proposed" || finding.state === "open");
  const error = whole.error ?? search.error;
  const busy = whole.busy || search.busy;
  return (
    <>
      {error && <Failure error={error} />}
      {acceptable && (
        <>
          {!ready && (
            <button type="button" disabled={busy} onClick={search.run} data-testid="finding-search">
              Search only
            </button>
          )}
          <button type="button" class="primary" disabled={busy} onClick={whole.run} data-testid="finding-accept">
            {ready ? "Release it" : "Search and release"}
          </button>
        </>
      )}
      <button type="button" onClick={() => setDismissing(true)} data-testid="finding-dismiss">
        Dismiss
      </button>
      {dismissing && (
        <Confirm
          title="Dismiss this finding?"
          verb="Dismiss"
          onClose={() => setDismissing(false)}
          act={order("dismiss")}
          testid="finding-dismiss-confirm"
        >
          <p>
            Its search and measurements end, and nothing more is found about this artifact. A rollout that was started
            goes on. Another artifact that misses the budget is found again.
          </p>
        </Confirm>
      )}
    </>
  );
}
