// What the gates of a rollout say now, for each profile.

import type { Rollout, Verdict } from "../api/rollouts";
import { touches, useResource } from "../api/resource";
import { gateWords, verdictWords } from "../text/rollout";
import { Badge, Card, Loaded } from "../ui/parts";

export function RolloutGates({ rollout }: { rollout: Rollout }) {
  const asked = gateWords({ gates: rollout.policy.gates, limits: { p95_us: null, rss_bytes: null } });
  const over = rollout.state === "rolling_back" || rollout.state === "aborted";
  const verdicts = useResource<Verdict[]>(asked.length > 0 && !over ? `/rollouts/${rollout.id}/gates` : null, {
    on: touches("rollout", rollout.id),
    everyMs: 2000,
    pollMs: 10_000,
  });
  if (asked.length === 0 || over) return null; // once it goes back, its decisions say what the gates said
  const sure = `${Number((rollout.policy.gates.confidence * 100).toPrecision(3))} %`;
  return (
    <Card
      flush
      title="Gates"
      note={`As of now, each with ${sure} confidence. A missed one ${rollout.policy.on_gate === "rollback" ? "rolls the rollout back" : "pauses the rollout"}.`}
      testid="rollout-gates"
    >
      <Loaded from={verdicts} lines={2}>
        {(all) =>
          all.length === 0 ? (
            <p class="card-line note">Nobody has settled yet, so there is nothing to judge: {asked.join(", ")}.</p>
          ) : (
            <div class="table-box" tabIndex={0} role="region" aria-label="Gates">
              <table class="stacking">
                <thead>
                  <tr>
                    <th scope="col">Gate</th>
                    <th scope="col">Verdict</th>
                    <th scope="col">Measured, and allowed</th>
                  </tr>
                </thead>
                <tbody>
                  {all.map((verdict) => (
                    <tr key={`${verdict.profile} ${verdict.gate}`} data-testid={`rollout-gate-${verdict.gate}`}>
                      <th scope="row">
                        {verdict.gate}
                        <span class="sub">{verdict.profile}</span>
                      </th>
                      <td>
                        <Badge word={verdictWords[verdict.state]} />
                      </td>
                      <td class="grow words">{verdict.words}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
    </Card>
  );
}
