import type { Finding } from "../api/findings";
import { touches, useResource } from "../api/resource";
import { findingWords, isOver, sentence } from "../text/findings";
import { ago, date } from "../text/format";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Message, Page } from "../ui/parts";

export function FindingsPage() {
  const findings = useResource<Finding[]>("/findings", { on: touches("finding"), everyMs: 800 });
  return (
    <Page title="Findings" above={<Link href="/">Fleet</Link>} lead="Budgets that devices miss, and what became of them.">
      <Loaded from={findings} lines={6}>
        {(all) =>
          all.length === 0 ? (
            <Card>
              <Empty icon="check" title="Nothing was found">
                Set a budget on a model's page: latency, memory or energy on a profile. The devices' telemetry is
                watched for it.
              </Empty>
            </Card>
          ) : (
            <>
              <Rows title="Now" findings={all.filter((each) => !isOver(each.state))} none="Every budget is kept, as far as telemetry tells." />
              <Rows title="Before" findings={all.filter((each) => isOver(each.state))} none="None is over yet." />
            </>
          )
        }
      </Loaded>
    </Page>
  );
}

function Rows({ title, findings, none }: { title: string; findings: readonly Finding[]; none: string }) {
  const now = useNow();
  if (findings.length === 0) {
    return (
      <Card title={title}>
        <p class="note">{none}</p>
      </Card>
    );
  }
  return (
    <Card flush title={title}>
      <div class="table-box" tabIndex={0} role="region" aria-label={`Findings: ${title.toLowerCase()}`}>
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Where</th>
              <th scope="col">State</th>
              <th scope="col">What</th>
              <th scope="col" class="num">
                Since
              </th>
            </tr>
          </thead>
          <tbody>
            {findings.map((finding) => (
              <tr key={finding.id} data-testid={`finding-${finding.id}`}>
                <th scope="row">
                  <Link href={`/findings/${finding.id}`}>{finding.model}</Link>
                  <span class="sub">{finding.scope === "profile" ? finding.profile : finding.devices.join(", ")}</span>
                </th>
                <td>
                  <Badge word={findingWords[finding.state]} />
                </td>
                <td class="grow finding-what">
                  {sentence(finding.sentence)}
                  <span class="sub">
                    <Message text={finding.message} />
                  </span>
                </td>
                <td class="num" title={date(finding.since)}>
                  {ago(finding.since, now)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
