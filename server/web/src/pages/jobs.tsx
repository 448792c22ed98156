import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Job } from "../api/types";
import { ago, clock, digest } from "../text/format";
import { jobIsOver, jobWords } from "../text/words";
import { useAction } from "../ui/dialog";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Meter, Page } from "../ui/parts";

export function JobsPage() {
  const jobs = useResource<Job[]>("/jobs", { on: touches("job") });
  return (
    <Page title="Jobs" lead="Compression, one job for a model, a recipe and a profile.">
      <Card flush>
        <Loaded from={jobs} lines={5}>
          {(all) =>
            all.length === 0 ? (
              <Empty icon="job" title="No job yet" action={<Link href="/models" class="button">Go to the models</Link>}>
                Compress or push a model; its jobs appear here with their progress.
              </Empty>
            ) : (
              <JobTable jobs={all} />
            )
          }
        </Loaded>
      </Card>
    </Page>
  );
}

export function JobTable({ jobs }: { jobs: readonly Job[] }) {
  const now = useNow(1000);
  const may = useMay("operator");
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Jobs">
      <table class="stacking">
        <thead>
          <tr>
            <th scope="col">Job</th>
            <th scope="col">State</th>
            <th scope="col">Step</th>
            <th scope="col" class="num col-2">
              Time
            </th>
            <th scope="col" class="num col-3">
              Asked for
            </th>
            {may && (
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id} data-testid={`job-row-${job.id}`}>
              <th scope="row">
                <Link href={`/models/${encodeURIComponent(job.model)}${job.artifact ? `?artifact=${job.artifact}` : ""}`}>
                  {job.model}
                </Link>
                <span class="sub">
                  {job.recipe} for {job.profile}
                </span>
              </th>
              <td>
                <Badge word={jobWords[job.state]} />
              </td>
              <td class="grow">
                {job.state === "running" ? (
                  <>
                    {job.message || job.step || "Starting"}
                    <Meter value={job.progress} label={`Progress of ${job.model} for ${job.profile}`} />
                  </>
                ) : job.state === "done" && job.artifact ? (
                  <span class="sub">
                    artifact <code>{digest(job.artifact)}</code>
                  </span>
                ) : (
                  <span class={job.state === "failed" ? "problem" : "sub"}>{job.message}</span>
                )}
              </td>
              <td class="num col-2">
                {job.started_at === null ? "–" : clock((job.finished_at ?? now) - job.started_at)}
              </td>
              <td class="num col-3">{ago(job.created_at, now)}</td>
              {may && <td class="tight">{!jobIsOver(job.state) && <CancelButton job={job} />}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function CancelButton({ job }: { job: Job }) {
  const action = useAction(() => post(`/jobs/${job.id}/cancel`));
  return (
    <>
      <button
        type="button"
        class="small danger"
        disabled={action.busy}
        onClick={action.run}
        aria-label={`Cancel ${job.model}, ${job.recipe} for ${job.profile}`}
        data-testid={`job-cancel-${job.id}`}
      >
        Cancel
      </button>
      {action.error && (
        <span class="problem" role="alert">
          {action.error.message}
        </span>
      )}
    </>
  );
}
