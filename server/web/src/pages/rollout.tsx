import { touches, useResource } from "../api/resource";
import type { Decision, Rollout, Timeline } from "../api/rollouts";
import { BandChart } from "../plot/bands";
import { bands, stageMarks } from "../plot/timeline";
import { date, digest } from "../text/format";
import { DEVICE_STATES, isFinal, policyWords, rolloutDeviceWords, rolloutSaying, rolloutWord, stageName, targetWords } from "../text/rollout";
import { signatureSteps } from "../text/trust";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Fact, Loaded, Notice, Page } from "../ui/parts";
import { navigate } from "../ui/route";
import { RolloutButtons } from "./rollout_buttons";
import { RolloutCompare } from "./rollout_compare";
import { RolloutDevices } from "./rollout_devices";
import { RolloutGates } from "./rollout_gates";
import { Reason, RolloutLog } from "./rollout_log";
import { Stages } from "./rollout_stages";
import { Why } from "./rollout_why";
import { Steps } from "./trust";

export function RolloutPage({ id }: { id: string }) {
  const rollout = useResource<Rollout>(`/rollouts/${encodeURIComponent(id)}/summary`, {
    on: (change) => touches("rollout", id)(change) || change.kind === "device",
    everyMs: 500,
  });
  const release = rollout.value?.release;
  return (
    <Page
      title={release ? `${release.model}, release ${release.counter}` : "Rollout"}
      above={<Link href="/rollouts">Rollouts</Link>}
      actions={rollout.value && <RolloutButtons rollout={rollout.value} reload={rollout.reload} />}
    >
      <Loaded from={rollout}>{(value) => <RolloutView rollout={value} />}</Loaded>
    </Page>
  );
}

/** A rollout, live: stage, why, over time, gates, decisions, devices. */
export function RolloutView({ rollout }: { rollout: Rollout }) {
  const { policy, release } = rollout;
  const word = rolloutWord(rollout);
  const decisions = useResource<Decision[]>(`/rollouts/${rollout.id}/decisions`, { on: touches("rollout", rollout.id), everyMs: 800 });
  const stopped = rollout.state === "paused" || rollout.state === "aborted" || rollout.state === "rolling_back";
  return (
    <>
      <Card
        testid="rollout"
        title={
          <span class="row">
            Rollout <Badge word={word} testid="rollout-state" />
          </span>
        }
      >
        <p data-testid="rollout-saying" aria-live="polite">
          {rolloutSaying(rollout)}
        </p>
        {rollout.reason && rollout.state !== "done" && (
          <Notice tone={stopped ? "warn" : "idle"} testid="rollout-reason">
            <Reason why={sentence(rollout.reason)} />
          </Notice>
        )}
        {rollout.awaits_approval !== null && (
          <Notice tone="busy" testid="rollout-awaits">
            <p>Waits for somebody to approve {stageName(rollout.awaits_approval, policy.waves.length)}.</p>
          </Notice>
        )}
        {rollout.waiting && rollout.awaits_approval === null && (
          <p class="note" data-testid="rollout-waiting">
            {sentence(rollout.waiting)}
          </p>
        )}
        {rollout.state === "draft" && release.state === "awaiting_signature" && <Steps steps={signatureSteps(release.id, "release")} />}
        <Stages rollout={rollout} />
        <Counts rollout={rollout} />
        <OverTime rollout={rollout} decisions={decisions.value ?? []} />
      </Card>
      <RolloutGates rollout={rollout} />
      {rollout.state !== "draft" && (
        <RolloutCompare id={rollout.id} marks={stageMarks(decisions.value ?? [], policy.waves.length)} />
      )}
      <div class="columns">
        <RolloutLog decisions={decisions} />
        <div class="stack">
          <Card title="What it does">
            <ul class="bullets">
              {policyWords(policy).map((each) => (
                <li key={each}>{each}</li>
              ))}
            </ul>
            <Facts rollout={rollout} />
          </Card>
          <Why rollout={rollout} />
        </div>
      </div>
      <RolloutDevices rollout={rollout} />
    </>
  );
}

const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?:]$/.test(text) ? "" : ".");

function OverTime({ rollout, decisions }: { rollout: Rollout; decisions: readonly Decision[] }) {
  const timeline = useResource<Timeline>(`/rollouts/${rollout.id}/timeline`, {
    on: (change) => touches("rollout", rollout.id)(change) || change.kind === "device",
    everyMs: 1000,
  });
  const now = useNow(2000);
  if (timeline.value === undefined || rollout.state === "draft") return null; // the counts above say how things stand
  const until = isFinal(rollout.state) && rollout.finished_at !== null ? rollout.finished_at : now;
  const of = bands(timeline.value, until);
  return <BandChart of={of} marks={stageMarks(decisions, rollout.policy.waves.length)} testid="rollout-over-time" />;
}

function Counts({ rollout }: { rollout: Rollout }) {
  const some = DEVICE_STATES.filter((state) => (rollout.counts[state] ?? 0) > 0);
  if (some.length === 0) return <p class="note">No device is part of it yet.</p>;
  return (
    <ul class="row">
      {some.map((state) => (
        <li key={state}>
          <button
            type="button"
            class="plain"
            title="Show these devices"
            onClick={() => navigate(`/rollouts/${rollout.id}?state=${state}`)}
            data-testid={`rollout-count-${state}`}
          >
            <Badge
              word={{
                ...rolloutDeviceWords[state],
                text: `${(rollout.counts[state] ?? 0).toLocaleString("en-US")} ${rolloutDeviceWords[state].text}`,
              }}
            />
          </button>
        </li>
      ))}
    </ul>
  );
}

function Facts({ rollout }: { rollout: Rollout }) {
  const { release } = rollout;
  return (
    <dl class="facts">
      <Fact name="For" wide>
        {targetWords(rollout.target)}
      </Fact>
      <Fact name="Started">
        {date(rollout.created_at)}
        {rollout.actor && <span class="sub">by {rollout.actor}</span>}
      </Fact>
      {rollout.finished_at !== null && <Fact name="Finished">{date(rollout.finished_at)}</Fact>}
      {rollout.approvals.length > 0 && (
        <Fact name="Approved" wide>
          {rollout.approvals.map((each) => (
            <div key={each.wave}>
              {stageName(each.wave, rollout.policy.waves.length)}
              {each.actor && ` by ${each.actor}`}
            </div>
          ))}
        </Fact>
      )}
      {rollout.rollback_of && (
        <Fact name="Takes back">
          <Link href={`/rollouts/${rollout.rollback_of}`}>an earlier rollout</Link>
        </Fact>
      )}
      {rollout.rolled_back_by.length > 0 && (
        <Fact name="Taken back by" testid="rollout-rolled-back-by">
          {rollout.rolled_back_by.map((id) => (
            <div key={id}>
              <Link href={`/rollouts/${id}`}>rollout {id}</Link>
            </div>
          ))}
        </Fact>
      )}
      <Fact name="Release">
        {release.counter}
        <span class="sub">
          <Link href={`/rollouts?new=${release.id}`}>Another rollout of it</Link>
        </span>
      </Fact>
      <Fact name="Artifacts" wide>
        {Object.entries(release.artifacts).map(([profile, hash]) => (
          <div key={profile}>
            {profile}{" "}
            <Link href={`/models/${encodeURIComponent(release.model)}?artifact=${hash}`}>
              <code>{digest(hash)}</code>
            </Link>
          </div>
        ))}
      </Fact>
    </dl>
  );
}
