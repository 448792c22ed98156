import type { Finding } from "../api/findings";
import { touches, useResource } from "../api/resource";
import { findingWords, sentence } from "../text/findings";
import { ago } from "../text/format";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Failure, Message } from "../ui/parts";

const SHOWN = 5;

/** What misses its budget now: nothing at all where nothing does. */
export function OpenFindings() {
  const findings = useResource<Finding[]>("/findings?over=false", { on: touches("finding"), everyMs: 800, pollMs: 30_000 });
  const now = useNow();
  const live = findings.value ?? [];
  if (findings.error && !findings.value) return <Failure error={findings.error} retry={findings.reload} />;
  if (live.length === 0) return null;
  return (
    <Card
      title={live.length === 1 ? "A budget is missed" : `${live.length} budgets are missed`}
      actions={<Link href="/findings">All findings</Link>}
      testid="open-findings"
    >
      <ul class="findings">
        {live.slice(0, SHOWN).map((finding) => (
          <li key={finding.id} class={findingWords[finding.state].tone}>
            <div class="row apart">
              <span class="row">
                <Link href={`/findings/${finding.id}`}>
                  {finding.model} on {finding.scope === "profile" ? finding.profile : finding.devices.join(", ")}
                </Link>
                <Badge word={findingWords[finding.state]} />
              </span>
              <span class="note">since {ago(finding.since, now)}</span>
            </div>
            <p>{sentence(finding.sentence)}</p>
            {finding.message && (
              <p class="note">
                <Message text={finding.message} />
              </p>
            )}
          </li>
        ))}
      </ul>
      {live.length > SHOWN && <p class="note">{live.length - SHOWN} more</p>}
    </Card>
  );
}
