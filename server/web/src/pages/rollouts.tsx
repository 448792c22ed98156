import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Rollout } from "../api/rollouts";
import { ago } from "../text/format";
import { isFinal, rolloutProgress, rolloutSaying, rolloutTotal, rolloutWord } from "../text/rollout";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Icon } from "../ui/icon";
import { Badge, Card, Empty, Loaded, Meter, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { NewRolloutDialog } from "./new_rollout";

export function RolloutsPage() {
  const rollouts = useResource<Rollout[]>("/rollouts", { on: touches("rollout"), everyMs: 800 });
  const may = useMay("operator");
  const [asked, setAsked] = useQuery();
  const starting = asked.get("new");
  return (
    <Page
      title="Rollouts"
      lead="Signed releases on their way to devices: canaries first, then the others."
      actions={
        may && (
          <button type="button" class="primary" onClick={() => setAsked({ new: "" })} data-testid="rollout-open">
            <Icon name="plus" />
            New rollout
          </button>
        )
      }
    >
      <Card flush>
        <Loaded from={rollouts} lines={5}>
          {(all) =>
            all.length === 0 ? (
              <Empty icon="rollout" title="No rollout yet" action={<Link href="/models" class="button">Go to the models</Link>}>
                Push a model to devices: it is compressed, signed and rolled out in one go.
              </Empty>
            ) : (
              <RolloutTable rollouts={all} />
            )
          }
        </Loaded>
      </Card>
      {may && starting !== null && (
        <NewRolloutDialog {...(starting ? { release: starting } : {})} onClose={() => setAsked({ new: null })} />
      )}
    </Page>
  );
}

function RolloutTable({ rollouts }: { rollouts: readonly Rollout[] }) {
  const now = useNow();
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Rollouts">
      <table>
        <thead>
          <tr>
            <th scope="col">Release</th>
            <th scope="col">State</th>
            <th scope="col">Devices</th>
            <th scope="col" class="col-2">
              Where it stands
            </th>
            <th scope="col" class="num col-3">
              Started
            </th>
          </tr>
        </thead>
        <tbody>
          {rollouts.map((rollout) => {
            const word = rolloutWord(rollout);
            return (
              <tr key={rollout.id} data-testid={`rollout-row-${rollout.id}`}>
                <th scope="row">
                  <Link href={`/rollouts/${rollout.id}`}>
                    {rollout.release.model}, release {rollout.release.counter}
                  </Link>
                  <span class="sub">{Object.keys(rollout.release.artifacts).join(", ")}</span>
                </th>
                <td>
                  <Badge word={word} />
                </td>
                <td>
                  {rollout.counts.committed ?? 0} of {rolloutTotal(rollout)}
                  {!isFinal(rollout.state) && (
                    <Meter value={rolloutProgress(rollout)} label="Devices that run it" tone={word.tone} />
                  )}
                </td>
                <td class="col-2">
                  {rolloutSaying(rollout)}
                  {rollout.reason && rollout.state !== "done" && <span class="sub">{rollout.reason}</span>}
                </td>
                <td class="num col-3">{ago(rollout.created_at, now)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
