import type { Finding } from "../api/findings";
import { query } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Rollout } from "../api/rollouts";
import { findingWords, sentence } from "../text/findings";
import { Link } from "../ui/link";
import { Badge, Card } from "../ui/parts";

/** Why this rollout was started, and what its devices were found to miss since. */
export function Why({ rollout }: { rollout: Rollout }) {
  const findings = useResource<Finding[]>("/findings" + query({ rollout: rollout.id }), { on: touches("finding"), everyMs: 800 });
  const all = findings.value ?? [];
  const cause = all.find((each) => each.new_rollout === rollout.id);
  const since = all.filter((each) => each.rollout === rollout.id && each !== cause);
  if (!cause && since.length === 0 && !rollout.release.note) return null;
  return (
    <Card title="Why" testid="rollout-why">
      {cause ? (
        <p>
          {sentence(rollout.release.note)} <Link href={`/findings/${cause.id}`}>The whole story</Link>
        </p>
      ) : (
        rollout.release.note && <p>{rollout.release.note}</p>
      )}
      {since.length > 0 && (
        <ul class="findings">
          {since.map((finding) => (
            <li key={finding.id} class={findingWords[finding.state].tone}>
              <span class="row">
                <Link href={`/findings/${finding.id}`}>Found since</Link>
                <Badge word={findingWords[finding.state]} />
              </span>
              <p>{sentence(finding.sentence)}</p>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
