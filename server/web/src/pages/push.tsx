import { touches, useResource } from "../api/resource";
import { plural } from "../text/format";
import type { Rollout } from "../api/rollouts";
import type { Change, Push, PushState } from "../api/types";
import { pushWords, jobIsOver } from "../text/words";
import { Link } from "../ui/link";
import { Badge, Card, Failure, Loaded, Meter, Notice, Page } from "../ui/parts";
import { JobTable } from "./jobs";
import { RolloutView } from "./rollout";

const STAGES: readonly (readonly [PushState, string])[] = [
  ["compressing", "Compress"],
  ["releasing", "Sign"],
  ["rolling_out", "Roll out"],
  ["done", "Done"],
];

export function PushPage({ id }: { id: string }) {
  const on = (change: Change) => ["push", "job", "rollout", "release"].includes(change.kind);
  const push = useResource<Push>(`/push/${encodeURIComponent(id)}`, { on, pollMs: 4000 });
  const rollout = useResource<Rollout>(push.value?.rollout ? `/rollouts/${push.value.rollout}/summary` : null, {
    on: (change) => touches("rollout", push.value?.rollout ?? "")(change) || change.kind === "device",
  });
  return (
    <Page
      title={push.value ? `Push of ${push.value.model}` : "Push"}
      above={<Link href="/rollouts">Rollouts</Link>}
      lead={push.value ? `Recipe ${push.value.recipe}, to ${plural(push.value.devices.length, "device")}` : undefined}
    >
      <Loaded from={push}>
        {(value) => {
          const { jobs } = value;
          return (
            <>
              <Card testid="push-progress">
                <div class="row apart">
                  <Badge word={pushWords[value.state]} testid="push-state" />
                  <span class="note">{value.message}</span>
                </div>
                <Stages push={value} />
                {value.state === "failed" && (
                  <Notice tone="bad">
                    <p>{value.message || "The push failed; the jobs below say why."}</p>
                  </Notice>
                )}
                {value.state === "compressing" && jobs.length > 0 && (
                  <Meter
                    value={jobs.reduce((sum, job) => sum + (jobIsOver(job.state) ? 1 : job.progress), 0) / jobs.length}
                    label="Compression"
                  />
                )}
              </Card>
              {jobs.length > 0 && (
                <Card flush title="Compression jobs" note="One for each profile that had no artifact of this recipe yet.">
                  <JobTable jobs={jobs} />
                </Card>
              )}
              {rollout.error && !rollout.value && <Failure error={rollout.error} retry={rollout.reload} />}
              {rollout.value && <RolloutView rollout={rollout.value} />}
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

function Stages({ push }: { push: Push }) {
  const reached =
    push.state === "failed"
      ? push.rollout
        ? 2
        : push.jobs.some((job) => job.state !== "done")
          ? 0
          : 1
      : STAGES.findIndex(([state]) => state === push.state);
  return (
    <ol class="stages">
      {STAGES.map(([state, label], i) => {
        const past = i < reached || push.state === "done";
        return (
          <li
            key={state}
            class={past ? "past" : i === reached ? `here ${push.state === "failed" ? "bad" : "busy"}` : ""}
            aria-current={i === reached ? "step" : undefined}
          >
            {label}
          </li>
        );
      })}
    </ol>
  );
}
