// A profile's calibration: what it rests on, against the datasheet, how far off, its history, and how to make one.

import { useState } from "preact/hooks";
import type { Calibration, CalibrationStatus, ProfilingJob } from "../api/calibration";
import { at, del } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { ProfileDetail } from "../api/types";
import { basisOf, calibrationWords, errorWords, isOpen, wholePercent } from "../text/calibration";
import { ago, digest, micros, plural, watts } from "../text/format";
import { method } from "../text/words";
import { Confirm } from "../ui/dialog";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Fact, Loaded, Notice } from "../ui/parts";
import { CalibrateDialog } from "./calibrate_dialog";
import { CalibrationKinds } from "./calibration_kinds";
import { JobLine } from "./profiling_job";

export function ProfileCalibration({ profile }: { profile: ProfileDetail }) {
  const path = `/profiles/${at(profile.id)}/calibration`;
  const fresh = { on: (change: Parameters<ReturnType<typeof touches>>[0]) => touches("profile", profile.id)(change) || change.kind === "profiling" };
  const status = useResource<CalibrationStatus>(path, { ...fresh, pollMs: 30_000 });
  const jobs = useResource<ProfilingJob[]>(`/profiling?profile=${at(profile.id)}`, fresh);
  const [asked, setAsked] = useState<"calibrate" | "revert" | null>(null);
  const may = useMay("operator");
  const active = status.value?.active ?? null;
  const reload = () => {
    setAsked(null);
    status.reload();
    jobs.reload();
  };
  return (
    <Card
      title="Calibration"
      note={status.value && <span data-testid="calibration-basis">Predictions rest on: {basisOf(status.value.stale ? null : active)}.</span>}
      testid="calibration"
      actions={
        may && (
          <>
            <button type="button" class="small" onClick={() => setAsked("calibrate")} data-testid="calibrate-open">
              Calibrate on …
            </button>
            {active && (
              <button type="button" class="small danger" onClick={() => setAsked("revert")} data-testid="calibration-revert">
                Revert
              </button>
            )}
          </>
        )
      }
    >
      <Loaded from={status} lines={5}>
        {(value) => (
          <>
            <Going jobs={(jobs.value ?? []).filter(isOpen)} status={value} />
            {value.active ? (
              <Active active={value.active} stale={value.stale} />
            ) : (
              <p class="note" data-testid="calibration-none">
                No device of this profile was measured yet, so latencies are told from peaks that no program reaches. A
                device measures itself within a minute, and every prediction for the profile gets better.
              </p>
            )}
            <Errors status={value} />
            <History profile={profile.id} />
          </>
        )}
      </Loaded>
      {asked === "calibrate" && <CalibrateDialog profile={profile.id} onClose={() => setAsked(null)} onAsked={reload} />}
      {asked === "revert" && (
        <Confirm
          title="Take this calibration out of use?"
          verb="Revert"
          onClose={() => setAsked(null)}
          act={() => del(path).then(reload)}
          testid="calibration-revert-confirm"
        >
          <p>The one before it holds again, or the datasheet where there was none. The next report leads to a new one.</p>
        </Confirm>
      )}
    </Card>
  );
}

/** What is under way, and what went wrong last. */
function Going({ jobs, status }: { jobs: ProfilingJob[]; status: CalibrationStatus }) {
  const { fit, newest, active, pending } = status;
  const unused = newest && newest.state === "kept" && newest.id > (active?.id ?? 0) ? newest : null;
  return (
    <>
      {jobs.map((job) => (
        <JobLine key={job.id} job={job} />
      ))}
      {pending && jobs.length === 0 && (
        <p class="note" role="status" data-testid="calibration-pending">
          New reports are being fitted.
        </p>
      )}
      {fit && !fit.running && fit.message && (
        <Notice tone="warn" testid="calibration-failed">
          <p>The last fit gave no calibration: {fit.message}</p>
        </Notice>
      )}
      {unused && (
        <Notice tone="warn" testid="calibration-kept">
          <p>{unused.message}</p>
        </Notice>
      )}
      {status.stale && (
        <Notice tone="warn">
          <p>The profile's figures were changed since, so its calibration rests until the next fit.</p>
        </Notice>
      )}
    </>
  );
}

function Active({ active, stale }: { active: Calibration; stale: boolean }) {
  const now = useNow(30_000);
  const { error, power } = active;
  const how = method(power?.method);
  return (
    <>
      <dl class={`facts calibration-facts ${stale ? "old" : ""}`}>
        <Fact name="Prediction error" testid="calibration-error">
          {active.error_before !== null && `${wholePercent(active.error_before)} → `}
          {wholePercent(active.error_after)}
        </Fact>
        <Fact name="On nets left out">
          median {wholePercent(error.model_median)}, worst {wholePercent(error.model_worst)} of {error.n}
        </Fact>
        <Fact name="Of one operator">median {wholePercent(error.operator_median)}</Fact>
        <Fact name="Devices" testid="calibration-devices">
          {active.devices.map((name, i) => (
            <span key={name}>
              {i > 0 && ", "}
              <Link href={`/devices/${at(name)}`}>{name}</Link>
            </span>
          ))}
        </Fact>
        <Fact name="Fitted">{ago(active.at, now)}</Fact>
        <Fact name="Runtime">
          {active.runtime}, {plural(active.threads, "thread")}
        </Fact>
        {power && (
          <Fact name="Power">
            {watts(power.idle_mw)} idle, {watts(power.busy_mw)} busy ({how?.word ?? power.method}, {power.scope})
          </Fact>
        )}
      </dl>
      {active.rejected.length > 0 && (
        <Notice tone="warn" testid="calibration-rejected">
          <p>Left out of the fit:</p>
          <ul>
            {active.rejected.map((one) => (
              <li key={one.device}>
                <Link href={`/devices/${at(one.device)}`}>{one.device}</Link>: {one.reason}
              </li>
            ))}
          </ul>
        </Notice>
      )}
      <CalibrationKinds kinds={active.kinds} />
    </>
  );
}

/** Artifacts that run, predicted and measured. */
function Errors({ status }: { status: CalibrationStatus }) {
  if (status.errors.length === 0) return null;
  return (
    <>
      <h3>What runs: predicted, and the measured p50</h3>
      <div class="table-box" tabIndex={0} role="region" aria-label="Predicted and measured">
        <table data-testid="calibration-errors">
          <thead>
            <tr>
              <th scope="col">Artifact</th>
              <th scope="col" class="num">Predicted</th>
              <th scope="col" class="num">Measured</th>
              <th scope="col">Prediction is</th>
              <th scope="col" class="col-2">Rests on</th>
              <th scope="col" class="num col-2">Devices</th>
            </tr>
          </thead>
          <tbody>
            {status.errors.map((one) => (
              <tr key={one.digest}>
                <th scope="row">
                  <Link href={`/models/${at(one.model)}`}>{one.model}</Link>
                  <span class="sub">
                    {one.recipe}, <code>{digest(one.digest)}</code>
                  </span>
                </th>
                <td class="num">{micros(one.predicted_us)}</td>
                <td class="num">{micros(one.measured_p50_us)}</td>
                <td>{errorWords(one.error)}</td>
                <td class="col-2">{one.basis}</td>
                <td class="num col-2">{one.devices}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function History({ profile }: { profile: string }) {
  const [open, setOpen] = useState(false);
  const rows = useResource<Calibration[]>(open ? `/profiles/${at(profile)}/calibrations` : null, { on: touches("profile", profile) });
  const now = useNow(30_000);
  return (
    <details class="more" onToggle={(event) => setOpen(event.currentTarget.open)} data-testid="calibration-history">
      <summary>History</summary>
      {open && (
        <Loaded from={rows} lines={3}>
          {(list) =>
            list.length === 0 ? (
              <p class="note">Nothing was fitted yet.</p>
            ) : (
              <ol class="calibration-history">
                {list.map((row) => (
                  <li key={row.id}>
                    <Badge word={calibrationWords[row.state]} /> <span>{ago(row.at, now)}</span>
                    <p>{row.message}</p>
                    {row.actor && <p class="note">Reverted by {row.actor}.</p>}
                  </li>
                ))}
              </ol>
            )
          }
        </Loaded>
      )}
    </details>
  );
}
