import { touches, useResource } from "../api/resource";
import type { Change, Device, Fleet, Job, Model, Profile } from "../api/types";
import type { Rollout } from "../api/rollouts";
import { useSeries } from "../api/use_series";
import { Chart } from "../plot/chart";
import { MAX_LINES } from "../plot/colors";
import { line, stepFor } from "../plot/series";
import { Spark } from "../plot/spark";
import { bytes, micros, perSecond, plural, watts } from "../text/format";
import { isFinal, rolloutProgress, rolloutSaying, rolloutWords } from "../text/rollout";
import { jobIsOver, jobWords } from "../text/words";
import { Link } from "../ui/link";
import { Badge, Card, Failure, Loaded, Meter, Page } from "../ui/parts";
import { Activity } from "./activity";
import { devicesChange, DeviceTable } from "./devices";
import { OpenFindings } from "./open_findings";

const RANGE_MS = 10 * 60_000;
const METRICS = ["latency_p95_us", "rss_bytes", "power_mw"];
const isTelemetry = (change: Change) => change.kind === "telemetry" || change.kind === "device";

export function OverviewPage() {
  const fleet = useResource<Fleet>("/telemetry/fleet", { on: isTelemetry, everyMs: 1000, pollMs: 10_000 });
  const devices = useResource<Device[]>("/devices", { on: devicesChange, everyMs: 1500 });
  const profiles = useResource<Profile[]>("/profiles");
  const rollouts = useResource<Rollout[]>("/rollouts", { on: touches("rollout"), everyMs: 800 });
  const jobs = useResource<Job[]>("/jobs", { on: touches("job"), everyMs: 800 });
  const models = useResource<Model[]>("/models", { on: touches("model") });

  return (
    <Page title="Fleet">
      <Loaded from={devices} lines={8}>
        {(all) =>
          all.length === 0 ? (
            <FirstSteps models={models.value ?? []} />
          ) : (
            <>
              {fleet.error && !fleet.value && <Failure error={fleet.error} retry={fleet.reload} />}
              <Tiles fleet={fleet.value} devices={all} />
              <OpenFindings />
              <UnderWay rollouts={rollouts.value ?? []} jobs={jobs.value ?? []} />
              <LiveFleet devices={all} profiles={profiles.value ?? []} />
            </>
          )
        }
      </Loaded>
      <Activity />
    </Page>
  );
}

function Tiles({ fleet, devices }: { fleet: Fleet | undefined; devices: readonly Device[] }) {
  const present = devices.filter((device) => device.status !== "revoked");
  const online = present.filter((device) => device.status === "online").length;
  const offline = present.filter((device) => device.status === "offline").length;
  const waiting = present.filter((device) => device.status === "registered").length;
  const powered = fleet?.power_devices ?? 0;
  const estimates = fleet?.power_estimated ?? 0;
  const rest = [offline > 0 ? `${offline} offline` : "", waiting > 0 ? `${waiting} not enrolled` : ""].filter(Boolean);
  return (
    <dl class="tiles odd">
      <div class="tile">
        <dt>Devices online</dt>
        <dd class="figure" data-testid="fleet-online">
          {online} <small>of {present.length}</small>
        </dd>
        <dd class="aside">{rest.join(", ") || "every one of them"}</dd>
      </div>
      <div class="tile double">
        <dt>Latency of one inference, all devices, last two minutes</dt>
        <dd class="trio">
          {(["p50_us", "p95_us", "p99_us"] as const).map((key) => (
            <div key={key}>
              <span>{key.slice(0, 3)}</span>
              <b class="figure" data-testid={`fleet-latency-${key.slice(0, 3)}`}>
                {micros(fleet?.latency[key])}
              </b>
            </div>
          ))}
        </dd>
      </div>
      <div class="tile">
        <dt>Inferences</dt>
        <dd class="figure" data-testid="fleet-inferences">
          {perSecond(fleet?.inferences_per_s)}
        </dd>
        <dd class="aside">of all devices together</dd>
      </div>
      <div class="tile">
        <dt>Power</dt>
        <dd class="figure" data-testid="fleet-power">
          {estimates > 0 ? "≈ " : ""}
          {watts(fleet?.power_mw)}
        </dd>
        <dd class="aside">
          {powered === 0
            ? "no device reports it"
            : `${powered} of ${online} report it${estimates > 0 ? `, ${plural(estimates, "estimate")}` : ""}`}
        </dd>
      </div>
    </dl>
  );
}

function UnderWay({ rollouts, jobs }: { rollouts: readonly Rollout[]; jobs: readonly Job[] }) {
  const open = rollouts.filter((rollout) => !isFinal(rollout.state));
  const running = jobs.filter((job) => !jobIsOver(job.state));
  if (open.length + running.length === 0) return null;
  return (
    <Card title="Under way" testid="under-way">
      <ul class="under-way">
        {open.map((rollout) => (
          <li key={rollout.id}>
            <div class="row apart">
              <span class="row">
                <Link href={`/rollouts/${rollout.id}`}>
                  {rollout.release.model}, release {rollout.release.counter}
                </Link>
                <Badge word={rolloutWords[rollout.state]} />
              </span>
              <span class="note">{rollout.reason || rolloutSaying(rollout)}</span>
            </div>
            <Meter value={rolloutProgress(rollout)} label="Devices that run it" tone={rolloutWords[rollout.state].tone} />
          </li>
        ))}
        {running.slice(0, 6).map((job) => (
          <li key={job.id}>
            <div class="row apart">
              <span class="row">
                <Link href="/jobs">
                  {job.model}, {job.recipe} for {job.profile}
                </Link>
                <Badge word={jobWords[job.state]} />
              </span>
              <span class="note">{job.message}</span>
            </div>
            <Meter value={job.progress} label={`Compression of ${job.model} for ${job.profile}`} />
          </li>
        ))}
        {running.length > 6 && (
          <li>
            <Link href="/jobs">{running.length - 6} more jobs</Link>
          </li>
        )}
      </ul>
    </Card>
  );
}

function LiveFleet({ devices, profiles }: { devices: readonly Device[]; profiles: readonly Profile[] }) {
  const able = devices.filter((device) => device.status === "online" || (device.status === "offline" && device.latest));
  // As many as a chart can hold apart: those online first, by name, so that colours stay with their device.
  const drawn = [...able]
    .sort((a, b) => Number(b.status === "online") - Number(a.status === "online") || a.name.localeCompare(b.name))
    .slice(0, MAX_LINES)
    .map((device) => device.name)
    .sort();
  const stepMs = stepFor(RANGE_MS);
  const all = useSeries(drawn, METRICS, RANGE_MS, stepMs, 2000);
  const common = { rangeMs: RANGE_MS, stepMs, now: all.now, loading: all.loading, height: 150, compact: true, fit: true };
  const lines = (metric: string) => drawn.map((name) => ({ label: name, line: line(all.of.get(name), metric) }));
  const spark = (name: string) => {
    const p95 = line(all.of.get(name), "latency_p95_us").v.filter((value) => value !== null);
    return <Spark values={p95.slice(-60)} label={`p95 latency of ${name}, last minutes`} />;
  };
  return (
    <>
      {drawn.length > 0 && (
        <div class="charts thirds" data-testid="fleet-charts">
          <Chart {...common} title="Latency, p95" note={shown(drawn.length, able.length)} testid="chart-fleet-latency" format={micros} lines={lines("latency_p95_us")} />
          <Chart {...common} title="Agent's memory" testid="chart-fleet-memory" format={bytes} lines={lines("rss_bytes")} />
          <Chart {...common} title="Power" testid="chart-fleet-power" zero format={watts} lines={lines("power_mw")} absent="No device here can tell its power." />
        </div>
      )}
      <Card flush title="Devices" actions={<Link href="/devices">All devices</Link>}>
        <DeviceTable devices={devices.filter((device) => device.status !== "revoked").slice(0, 50)} profiles={profiles} spark={spark} />
      </Card>
    </>
  );
}

const shown = (drawn: number, all: number) => (drawn < all ? `${drawn} of ${all} devices` : null);

function FirstSteps({ models }: { models: readonly Model[] }) {
  return (
    <Card title="Three steps to a running model" testid="first-steps">
      <ol class="steps">
        <li>
          <span class="step-no">1</span>
          <h3>Register a device</h3>
          <p>It gets a code, and trades it for its credentials.</p>
          <Link href="/devices" class="button small">
            Register a device
          </Link>
        </li>
        <li class={models.length > 0 ? "done" : ""}>
          <span class="step-no">2</span>
          <h3>Upload a model</h3>
          <p>{models.length > 0 ? `${plural(models.length, "model")} uploaded.` : "ONNX, or a PyTorch export, with a data set if you have one."}</p>
          <Link href="/models" class="button small">
            {models.length > 0 ? "See the models" : "Upload a model"}
          </Link>
        </li>
        <li>
          <span class="step-no">3</span>
          <h3>Push it</h3>
          <p>It is compressed for each profile, signed, tried on a canary, and rolled out.</p>
        </li>
      </ol>
      <p class="note">
        <code>edgepress demo</code> does all three with three agents on this machine.
      </p>
    </Card>
  );
}

