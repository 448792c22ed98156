import { useState } from "preact/hooks";
import type { Silence } from "../api/alerts";
import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { silencedUntil, silenceWords } from "../text/alerts";
import { ago, date } from "../text/format";
import { Confirm } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Page } from "../ui/parts";
import { ALERT_TABS, Tabs } from "../ui/tabs";
import { SilenceDialog } from "./silence_dialog";

export function SilencesPage() {
  const silences = useResource<Silence[]>("/alert-silences", { on: touches("alert"), everyMs: 1000, pollMs: 60_000 });
  const [making, setMaking] = useState(false);
  const may = useMay("operator");
  const create = may && (
    <button type="button" class="primary" onClick={() => setMaking(true)} data-testid="silence-open">
      <Icon name="plus" />
      New silence
    </button>
  );
  return (
    <Page
      title="Alerts"
      lead="While a silence holds its alerts are told nobody. They are still found, shown and kept."
      actions={create}
    >
      <Tabs label="Alerts" tabs={ALERT_TABS} here="/alerts/silences" />
      <Loaded from={silences} lines={4}>
        {(all) =>
          all.length === 0 ? (
            <Card>
              <Empty icon="mute" title="Nothing is silenced" action={create}>
                Silence a rule for some devices while you work on them, or each night.
              </Empty>
            </Card>
          ) : (
            <>
              <Rows title="Now and to come" all={all.filter((each) => each.state !== "over")} may={may} reload={silences.reload} />
              <Rows title="Over" all={all.filter((each) => each.state === "over")} may={false} reload={silences.reload} />
            </>
          )
        }
      </Loaded>
      {making && <SilenceDialog about={null} onClose={() => setMaking(false)} then={silences.reload} />}
    </Page>
  );
}

interface RowsProps {
  title: string;
  all: readonly Silence[];
  may: boolean;
  reload: () => void;
}
function Rows({ title, all, may, reload }: RowsProps) {
  const now = useNow(30_000);
  const [ending, setEnding] = useState<Silence | null>(null);
  if (all.length === 0) return null;
  return (
    <Card flush title={title}>
      <div class="table-box" tabIndex={0} role="region" aria-label={title}>
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col">State</th>
              <th scope="col">When</th>
              <th scope="col" class="col-2">
                By
              </th>
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {all.map((each) => (
              <tr key={each.id} data-testid={`silence-row-${each.id}`}>
                <th scope="row">
                  {each.rule || "Every rule"}
                  <span class="sub">{each.query ? <code>{each.query}</code> : "all devices"}</span>
                </th>
                <td>
                  <Badge word={silenceWords[each.state]} />
                </td>
                <td class="grow">
                  {silencedUntil(each)}
                  <span class="sub">{each.reason}</span>
                </td>
                <td class="col-2">
                  {each.created_by}
                  <span class="sub">{each.ended_by ? `ended by ${each.ended_by}, ${date(each.ended_at)}` : ago(each.created_at, now)}</span>
                </td>
                <td class="tight">
                  {may && (
                    <button type="button" class="small" onClick={() => setEnding(each)} data-testid={`silence-end-${each.id}`}>
                      End
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {ending && (
        <Confirm
          title="End this silence?"
          verb="End it"
          onClose={() => setEnding(null)}
          act={() => post(`/alert-silences/${encodeURIComponent(ending.id)}/end`).then(reload)}
          testid="silence-end-confirm"
        >
          <p>What it kept quiet and still fires is told from now on.</p>
        </Confirm>
      )}
    </Card>
  );
}
