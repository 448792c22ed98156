import { useState } from "preact/hooks";
import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Rollout, RolloutDevice, RolloutState } from "../api/types";
import { ago, date, digest, plural } from "../text/format";
import {
  isFinal,
  policyWords,
  rolloutDeviceSaying,
  rolloutDeviceWords,
  rolloutProgress,
  rolloutSaying,
  rolloutTotal,
  rolloutWords,
} from "../text/words";
import { Why } from "./rollout_why";
import { Confirm, useAction } from "../ui/dialog";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Fact, Failure, Loaded, Meter, Notice, Page } from "../ui/parts";

export function RolloutPage({ id }: { id: string }) {
  const rollout = useResource<Rollout>(`/rollouts/${encodeURIComponent(id)}`, {
    on: (change) => touches("rollout", id)(change) || change.kind === "device",
    everyMs: 400,
  });
  const release = rollout.value?.release;
  return (
    <Page
      title={release ? `${release.model}, release ${release.counter}` : "Rollout"}
      above={<Link href="/rollouts">Rollouts</Link>}
    >
      <Loaded from={rollout}>{(value) => <RolloutView rollout={value} actions />}</Loaded>
    </Page>
  );
}

const STAGES: readonly (readonly [RolloutState, string])[] = [
  ["signed", "Signed"],
  ["canary", "Canary"],
  ["ramp", "Ramp"],
  ["soak", "Soak"],
  ["done", "Done"],
];

/** A rollout, live: stage, reason, every device. */
export function RolloutView({ rollout, actions }: { rollout: Rollout; actions?: boolean }) {
  const word = rolloutWords[rollout.state];
  return (
    <>
      <Card
        testid="rollout"
        title={
          <span class="row">
            Rollout <Badge word={word} testid="rollout-state" />
          </span>
        }
        actions={actions && <RolloutButtons rollout={rollout} />}
      >
        <p data-testid="rollout-saying" aria-live="polite">
          {rolloutSaying(rollout)}
        </p>
        {rollout.reason && (
          <Notice tone={rollout.state === "paused" || rollout.state === "aborted" ? "warn" : "idle"} testid="rollout-reason">
            <p>{rollout.reason}</p>
          </Notice>
        )}
        <Stages rollout={rollout} />
        <Meter value={rolloutProgress(rollout)} label="Devices that run it" tone={word.tone === "idle" ? "busy" : word.tone} />
        <Counts rollout={rollout} />
        <dl class="facts">
          <Fact name="Policy">{policyWords(rollout.policy).join("; ")}</Fact>
          <Fact name="Started">{date(rollout.created_at)}</Fact>
          {rollout.finished_at !== null && <Fact name="Finished">{date(rollout.finished_at)}</Fact>}
          <Fact name="Artifacts" wide>
            {Object.entries(rollout.release.artifacts).map(([profile, hash]) => (
              <div key={profile}>
                {profile}{" "}
                <Link href={`/models/${encodeURIComponent(rollout.release.model)}?artifact=${hash}`}>
                  <code>{digest(hash)}</code>
                </Link>
              </div>
            ))}
          </Fact>
        </dl>
      </Card>
      <Why rollout={rollout} />
      <Card flush title="Devices">
        <DeviceRows devices={rollout.devices} />
      </Card>
    </>
  );
}

function Stages({ rollout }: { rollout: Rollout }) {
  if (rollout.state === "aborted" || rollout.state === "rolling_back") return null;
  const skipped = new Set<RolloutState>();
  if (rollout.policy.canary_per_profile === 0) skipped.add("canary");
  if (rollout.policy.soak_s === 0) skipped.add("soak");
  const stages = STAGES.filter(([state]) => !skipped.has(state) || state === rollout.state);
  // A paused rollout stands where its devices stand: the first stage with a device that is not through.
  const canariesThrough = rollout.devices.every((each) => each.stage !== "canary" || each.state === "committed");
  const here =
    rollout.state === "paused" ? (canariesThrough ? "ramp" : "canary") : rollout.state === "draft" ? "signed" : rollout.state;
  const reached = stages.findIndex(([state]) => state === here);
  return (
    <ol class="stages">
      {stages.map(([state, label], i) => (
        <li
          key={state}
          class={
            i < reached || rollout.state === "done" ? "past" : i === reached ? `here ${rolloutWords[rollout.state].tone}` : ""
          }
          aria-current={i === reached ? "step" : undefined}
        >
          {label}
        </li>
      ))}
    </ol>
  );
}

function Counts({ rollout }: { rollout: Rollout }) {
  const some = (Object.keys(rolloutDeviceWords) as (keyof typeof rolloutDeviceWords)[]).filter(
    (state) => (rollout.counts[state] ?? 0) > 0,
  );
  if (some.length === 0) return <p class="note">No device is part of it yet.</p>;
  return (
    <ul class="row">
      {some.map((state) => (
        <li key={state}>
          <Badge word={{ ...rolloutDeviceWords[state], text: `${rollout.counts[state]} ${rolloutDeviceWords[state].text}` }} />
        </li>
      ))}
    </ul>
  );
}

function DeviceRows({ devices }: { devices: readonly RolloutDevice[] }) {
  const now = useNow();
  const sorted = [...devices].sort(
    (a, b) => (a.stage === b.stage ? a.device.localeCompare(b.device) : a.stage === "canary" ? -1 : 1),
  );
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Devices of this rollout">
      <table class="stacking">
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col">State</th>
            <th scope="col">What happens</th>
            <th scope="col" class="col-2">
              Stage
            </th>
            <th scope="col" class="num col-2">
              Changed
            </th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((device) => (
            <tr key={device.device} data-testid={`rollout-device-${device.device}`}>
              <th scope="row">
                <Link href={`/devices/${device.device}`}>{device.device}</Link>
                <span class="sub">{device.profile}</span>
              </th>
              <td>
                <Badge word={rolloutDeviceWords[device.state]} />
              </td>
              <td class="grow">
                {rolloutDeviceSaying(device)}
                {device.state === "fetching" && device.chunks_total ? (
                  <Meter
                    value={(device.chunks_have ?? 0) / device.chunks_total}
                    label={`Chunks that ${device.device} has`}
                  />
                ) : null}
              </td>
              <td class="col-2">{device.stage === "canary" ? "canary" : "ramp"}</td>
              <td class="num col-2">{ago(device.updated_at, now)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function RolloutButtons({ rollout }: { rollout: Rollout }) {
  const may = useMay("operator");
  const [aborting, setAborting] = useState(false);
  const order = (what: "pause" | "resume" | "abort") => () => post(`/rollouts/${rollout.id}/${what}`);
  const pause = useAction(order("pause"));
  const resume = useAction(order("resume"));
  if (!may || isFinal(rollout.state) || rollout.state === "rolling_back") return null;
  const error = pause.error ?? resume.error;
  const unfinished = rolloutTotal(rollout) - (rollout.counts.committed ?? 0);
  return (
    <>
      {error && <Failure error={error} />}
      {rollout.state === "paused" ? (
        <button type="button" class="primary" disabled={resume.busy} onClick={resume.run} data-testid="rollout-resume">
          Resume
        </button>
      ) : (
        <button type="button" disabled={pause.busy} onClick={pause.run} data-testid="rollout-pause">
          Pause
        </button>
      )}
      <button type="button" class="danger" onClick={() => setAborting(true)} data-testid="rollout-abort">
        Abort
      </button>
      {aborting && (
        <Confirm
          title="Abort this rollout?"
          verb="Abort"
          onClose={() => setAborting(false)}
          act={order("abort")}
          testid="rollout-abort-confirm"
        >
          <p>
            {plural(unfinished, "device")} that did not finish {unfinished === 1 ? "keeps or gets" : "keep or get"} back
            the previous model; those that run the new one keep it. An aborted rollout cannot be resumed.
          </p>
        </Confirm>
      )}
    </>
  );
}
