// Rollouts and jobs that are not over.

import type { Rollout } from "../api/rollouts";
import type { Job } from "../api/types";
import { isFinal, rolloutProgress, rolloutSaying, rolloutWords } from "../text/rollout";
import { jobIsOver, jobWords } from "../text/words";
import { Link } from "../ui/link";
import { Badge, Card, Meter } from "../ui/parts";

export function UnderWay({ rollouts, jobs }: { rollouts: readonly Rollout[]; jobs: readonly Job[] }) {
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
