// One profiling job: how far it is, or what came of it.

import type { ProfilingJob } from "../api/calibration";
import { at, post } from "../api/client";
import { useMay } from "../api/session";
import { isOpen, profilingSaying, profilingWords } from "../text/calibration";
import { useAction } from "../ui/dialog";
import { Link } from "../ui/link";
import { Badge, Failure, Meter } from "../ui/parts";

/** `named`: with the device, where the page is not its own. */
export function JobLine({ job, named = true }: { job: ProfilingJob; named?: boolean }) {
  const may = useMay("operator");
  const cancel = useAction(() => post(`/profiling/${at(job.id)}/cancel`));
  return (
    <div class="profiling-job" data-testid={`profiling-${job.device}`}>
      <div class="row apart">
        <span class="row">
          <Badge word={profilingWords[job.state]} />
          {named && <Link href={`/devices/${at(job.device)}`}>{job.device}</Link>}
          <span class="note">{job.what === "device" ? "calibration nets" : "what it runs"}</span>
        </span>
        {may && isOpen(job) && (
          <button type="button" class="small" onClick={cancel.run} disabled={cancel.busy} data-testid="profiling-cancel">
            Cancel
          </button>
        )}
      </div>
      {isOpen(job) && <Meter value={job.percent / 100} label={`${job.device} has measured ${job.percent} percent`} />}
      <p class="note">{profilingSaying(job)}</p>
      {cancel.error && <Failure error={cancel.error} />}
    </div>
  );
}
