import { useState } from "preact/hooks";
import { del, patch, post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { telemetryMayBeOf } from "../api/telemetry_events";
import { useMay } from "../api/session";
import type { Device, Profile, Registration } from "../api/types";
import { ago, bytes, celsius, date, digest, micros, percent, plural } from "../text/format";
import { labelsText, parseLabels } from "../text/names";
import { deviceDoing, method } from "../text/words";
import { Confirm, Dialog, useAction } from "../ui/dialog";
import { DeviceStatusBadge, latencyOf, memoryOf, powerOf, Running, StepBadge } from "../ui/device_bits";
import { Field } from "../ui/field";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Card, Fact, Failure, Loaded, Meter, Notice, Page } from "../ui/parts";
import { DeviceDeliveryCard } from "./delivery_fields";
import { DeviceCharts } from "./device_charts";
import { DeviceProfiling } from "./device_profiling";
import { EnrolCode } from "./register";

type Asked = "revoke" | "code" | "labels" | null;

export function DevicePage({ name }: { name: string }) {
  const device = useResource<Device>(`/devices/${encodeURIComponent(name)}`, {
    on: (change) => touches("device", name)(change) || telemetryMayBeOf(change, name),
    everyMs: 900,
  });
  const profiles = useResource<Profile[]>("/profiles");
  const [asked, setAsked] = useState<Asked>(null);
  const [registration, setRegistration] = useState<Registration | null>(null);
  const mayChange = useMay("operator");
  const newCode = useAction(async () => {
    setRegistration(await post<Registration>(`/devices/${encodeURIComponent(name)}/code`));
    setAsked("code");
  });
  const revoked = device.value?.status === "revoked";
  const profile = profiles.value?.find((each) => each.id === device.value?.profile);

  return (
    <Page
      title={name}
      above={<Link href="/devices">Devices</Link>}
      lead={
        device.value && (
          <span class="row">
            <DeviceStatusBadge device={device.value} testid="device-status" />
            <StepBadge device={device.value} />
            <span>{profile?.name ?? device.value.profile}</span>
            <span class="tags">
              {Object.entries(device.value.labels).map(([key, value]) => (
                <span class="tag" key={key}>
                  {key}={value}
                </span>
              ))}
            </span>
          </span>
        )
      }
      actions={
        device.value &&
        mayChange && (
          <>
            <button type="button" onClick={() => setAsked("labels")} data-testid="device-labels">
              Labels
            </button>
            <button type="button" onClick={newCode.run} disabled={newCode.busy} data-testid="device-new-code">
              New code
            </button>
            {!revoked && (
              <button type="button" class="danger" onClick={() => setAsked("revoke")} data-testid="device-revoke">
                Revoke
              </button>
            )}
          </>
        )
      }
    >
      {newCode.error && <Failure error={newCode.error} />}
      <Loaded from={device}>{(value) => <Body device={value} />}</Loaded>
      {asked === "revoke" && (
        <Confirm
          title={`Revoke ${name}?`}
          verb="Revoke"
          onClose={() => setAsked(null)}
          act={() => del(`/devices/${encodeURIComponent(name)}`)}
          testid="device-revoke-confirm"
        >
          <p>
            Its credentials die at once and it is disconnected. Its history stays. It can come back only with a new
            enrolment code.
          </p>
        </Confirm>
      )}
      {asked === "code" && registration && (
        <Dialog title={`Enrol ${name} again`} onClose={() => setAsked(null)} testid="enrol-dialog">
          <EnrolCode registration={registration} />
          <footer>
            <button type="button" class="primary" onClick={() => setAsked(null)}>
              Done
            </button>
          </footer>
        </Dialog>
      )}
      {asked === "labels" && device.value && <LabelsDialog device={device.value} onClose={() => setAsked(null)} />}
    </Page>
  );
}

function Body({ device }: { device: Device }) {
  const now = useNow();
  const live = device.latest;
  const old = device.status !== "online";
  return (
    <>
      {device.cloned_at !== null && (
        <Notice tone="warn" testid="device-cloned">
          <p>
            Two boards use the identity of {device.name}, last seen {ago(device.cloned_at, now)}: most likely a copied
            disk image. They throw each other off the broker. Give each its own: a new code here, and the copies
            registered under names of their own.
          </p>
        </Notice>
      )}
      {device.reason && (
        <Notice tone={device.step === "rolled_back" ? "warn" : "bad"} testid="device-reason">
          <p>{device.reason}</p>
        </Notice>
      )}
      <dl class={`tiles ${old ? "old" : ""}`}>
        <div class="tile double">
          <dt>Latency of one inference</dt>
          <dd class="trio">
            {(["p50_us", "p95_us", "p99_us"] as const).map((key) => (
              <div key={key}>
                <span>{key.slice(0, 3)}</span>
                <b class="figure" data-testid={`metric-latency-${key.slice(0, 3)}`}>
                  {latencyOf(live, key)}
                </b>
              </div>
            ))}
          </dd>
        </div>
        <div class="tile">
          <dt>Agent's memory</dt>
          <dd class="figure" data-testid="metric-memory">
            {memoryOf(live)}
          </dd>
          <dd class="aside">
            {live?.mem_used_bytes && live.mem_total_bytes
              ? `board: ${bytes(live.mem_used_bytes)} of ${bytes(live.mem_total_bytes)}`
              : "board: not reported"}
          </dd>
        </div>
        <div class="tile">
          <dt>Power</dt>
          <dd class="figure" data-testid="metric-power">
            {powerOf(live)}
          </dd>
          <dd class="aside" data-testid="metric-power-method">
            {live?.power_mw ? powerWords(live.power_mw.method, live.power_mw.scope) : "this board cannot tell"}
          </dd>
        </div>
        <div class="tile">
          <dt>CPU · temperature</dt>
          <dd class="figure">
            {percent(live?.cpu_percent)} <small>{celsius(live?.temp_c)}</small>
          </dd>
          <dd class="aside">{live?.throttled ? "throttled" : live?.throttled === false ? "not throttled" : ""}</dd>
        </div>
        <div class="tile">
          <dt>{old ? "Last seen" : "Last sample"}</dt>
          <dd class="figure">{ago(old ? device.seen_at : (live?.at_ms ?? device.seen_at), now)}</dd>
          <dd class="aside">
            {live && live.interval_ms > 0
              ? `${plural(Math.round((live.inferences * 1000) / live.interval_ms), "inference")}/s`
              : ""}
            {live && live.errors > 0 ? `, ${plural(live.errors, "error")}` : ""}
          </dd>
        </div>
      </dl>
      <Card class="device-model">
        <div class="device-model-parts">
          <div>
            <h2>Model</h2>
            <Running device={device} />
            {device.running && (
              <p class="note">
                <Link href={`/devices/${encodeURIComponent(device.name)}/drift`}>Drift and sampled inputs</Link>
              </p>
            )}
          </div>
          <div class="device-model-doing">
            <p data-testid="device-doing">{deviceDoing(device)}</p>
            {device.want?.rollout && (
              <p>
                <Link href={`/rollouts/${device.want.rollout}`}>The rollout that told it</Link>
              </p>
            )}
            {device.step === "fetching" && device.chunks_total ? (
              <Meter value={(device.chunks_have ?? 0) / device.chunks_total} label="Chunks fetched" />
            ) : null}
          </div>
          <Download device={device} />
        </div>
      </Card>
      <DeviceCharts device={device} />
      <div class="device-about">
        <Card title="Hardware">
          <HardwareFacts device={device} />
        </Card>
        <DeviceProfiling device={device} />
        <DeviceDeliveryCard name={device.name} />
      </div>
    </>
  );
}

/** How the newest download stands, and what the trial of it saw; nothing where there is nothing to tell. */
function Download({ device }: { device: Device }) {
  const { trial, waiting } = device;
  const facts: [string, string][] = [];
  if (device.received_bytes) {
    facts.push(["Fetched", `${bytes(device.received_bytes)}${device.delta ? ", the difference only" : ""}${device.via ? ` by ${device.via.toUpperCase()}` : ""}`]);
  }
  if (trial?.p95_us) facts.push(["p95 in the trial", micros(trial.p95_us) + (trial.base_p95_us ? `, before ${micros(trial.base_p95_us)}` : "")]);
  if (trial?.rss_bytes) facts.push(["Memory in the trial", `+${bytes(trial.rss_bytes)}`]);
  if (trial && trial.requests > 0) facts.push(["Same answers", `${trial.agreed} of ${plural(trial.requests, "request")}`]);
  if (!waiting && facts.length === 0) return null;
  return (
    <>
      {waiting && (
        <Notice tone="idle" testid="device-waiting">
          <p>{waiting}</p>
        </Notice>
      )}
      {facts.length > 0 && (
        <dl class="facts" data-testid="device-download">
          {facts.map(([name, value]) => (
            <Fact key={name} name={name}>
              {value}
            </Fact>
          ))}
        </dl>
      )}
    </>
  );
}

function powerWords(name: string, scope: string): string {
  const how = method(name);
  return how ? `${how.word} (${how.how}), ${scope}` : scope;
}

function HardwareFacts({ device }: { device: Device }) {
  const hardware = device.hardware ?? {};
  return (
    <dl class="facts">
      <Fact name="Board">{hardware.board ?? "not reported"}</Fact>
      <Fact name="Processor">
        {[hardware.machine, hardware.cores ? plural(hardware.cores, "core") : null].filter(Boolean).join(", ") || "not reported"}
      </Fact>
      <Fact name="Memory">{hardware.ram_bytes ? bytes(hardware.ram_bytes) : "not reported"}</Fact>
      <Fact name="System">{hardware.system ?? "not reported"}</Fact>
      <Fact name="onnxruntime">{hardware.onnxruntime ?? "not reported"}</Fact>
      <Fact name="Agent">{device.agent_version ?? "not enrolled"}</Fact>
      <Fact name="Registered">{date(device.created_at)}</Fact>
      <Fact name="Enrolled">{date(device.enrolled_at)}</Fact>
      {device.credentials_at !== null && <Fact name="Credentials of">{date(device.credentials_at)}</Fact>}
      {device.certificate_expires_at !== null && (
        <Fact name="Certificate ends" testid="device-certificate">
          <span class={device.certificate_expires_at < Date.now() + 14 * 86_400_000 ? "problem" : ""}>
            {date(device.certificate_expires_at)}
          </span>
        </Fact>
      )}
      {device.root !== null && <Fact name="Trusts">root version {device.root}</Fact>}
      {device.running && (
        <Fact name="Artifact">
          <code>{digest(device.running.digest)}</code>
        </Fact>
      )}
    </dl>
  );
}

function LabelsDialog({ device, onClose }: { device: Device; onClose: () => void }) {
  const [text, setText] = useState(labelsText(device.labels));
  const labels = parseLabels(text);
  const action = useAction(() => patch(`/devices/${encodeURIComponent(device.name)}`, { labels }), onClose);
  return (
    <Dialog title={`Labels of ${device.name}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (typeof labels !== "string") action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          <Field
            label="Labels"
            hint="key=value, with commas between. Rollouts can choose devices by them."
            problem={typeof labels === "string" ? labels : null}
          >
            {(ids) => (
              <input {...ids} autofocus value={text} onInput={(event) => setText(event.currentTarget.value)} data-testid="labels-input" />
            )}
          </Field>
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={action.busy} data-testid="labels-save">
            Save
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
