// What a device measured when it was asked to, and the way to ask.

import type { ProfilingDetail, ProfilingJob } from "../api/calibration";
import { at, post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Device } from "../api/types";
import { isOpen, reportNotes, took } from "../text/calibration";
import { ago, celsius, micros, plural, watts } from "../text/format";
import { useAction } from "../ui/dialog";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Card, Fact, Failure, Loaded } from "../ui/parts";
import { JobLine } from "./profiling_job";

const SECONDS = 60;

export function DeviceProfiling({ device }: { device: Device }) {
  const jobs = useResource<ProfilingJob[]>(`/profiling?device=${at(device.name)}`, { on: touches("profiling") });
  const may = useMay("operator");
  const ask = (what: "device" | "model") => () => post(`/devices/${at(device.name)}/profiling`, { what, seconds: SECONDS }).then(jobs.reload);
  const itself = useAction(ask("device"));
  const model = useAction(ask("model"));
  const enrolled = device.status === "online" || device.status === "offline";
  return (
    <Card
      title="Profiling"
      testid="device-profiling"
      actions={
        may &&
        enrolled && (
          <>
            <button type="button" class="small" onClick={itself.run} disabled={itself.busy} data-testid="profile-device">
              Profile this device
            </button>
            {device.running && (
              <button type="button" class="small" onClick={model.run} disabled={model.busy} data-testid="profile-model">
                Profile what it runs
              </button>
            )}
          </>
        )
      }
    >
      {(itself.error ?? model.error) && <Failure error={(itself.error ?? model.error)!} />}
      <Loaded from={jobs} lines={2}>
        {(list) => {
          const open = list.filter(isOpen);
          const last = list.find((job) => !isOpen(job));
          return (
            <>
              {open.map((job) => (
                <JobLine key={job.id} job={job} named={false} />
              ))}
              {last && <Last job={last} />}
              {list.length === 0 && <p class="note">It was never asked to measure itself. Its times calibrate the predictions for its profile.</p>}
            </>
          );
        }}
      </Loaded>
      <p>
        <Link href={`/profiles/${at(device.profile)}`}>Calibration of {device.profile}</Link>
      </p>
    </Card>
  );
}

/** The newest job that is over, with its report. */
function Last({ job }: { job: ProfilingJob }) {
  const detail = useResource<ProfilingDetail>(`/profiling/${at(job.id)}`, { on: touches("profiling", job.id) });
  const now = useNow(30_000);
  const report = detail.value?.report;
  if (!report) return <JobLine job={job} named={false} />;
  const artifact = job.what === "model" ? report.nets[0] : undefined;
  return (
    <div data-testid="profiling-report">
      <JobLine job={job} named={false} />
      <dl class="facts">
        <Fact name="When">{ago(report.at, now)}</Fact>
        {artifact ? (
          <Fact name="One inference">
            {micros(artifact.p50_us)} (p50), ±{micros(artifact.ci95_us)} around a mean of {micros(artifact.mean_us)}
          </Fact>
        ) : (
          <Fact name="Timed">
            {plural(report.nets.length, "net")}, {plural(report.kernel_count, "kernel")}
            {took(report)}
          </Fact>
        )}
        <Fact name="Runtime">
          {report.runtime}, {plural(report.threads, "thread")}
        </Fact>
        {report.temp_c_after !== null && (
          <Fact name="Temperature">
            {celsius(report.temp_c_before)} → {celsius(report.temp_c_after)}
          </Fact>
        )}
        {report.idle_mw && report.busy_mw && (
          <Fact name="Power">
            {watts(report.idle_mw.value)} idle, {watts(report.busy_mw.value)} busy
          </Fact>
        )}
      </dl>
      {reportNotes(report).map((note) => (
        <p class="note" key={note}>
          {note}
        </p>
      ))}
    </div>
  );
}
