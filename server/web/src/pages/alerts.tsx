// What is wrong now, the gravest first; what was.

import { useState } from "preact/hooks";
import type { Alert, AlertList, AlertState, Severity } from "../api/alerts";
import { query } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { useKept } from "../api/use_annotations";
import { alertWord, lastedWords, severityWords, wanting } from "../text/alerts";
import { ago, date, plural } from "../text/format";
import { Choice } from "../ui/field";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { ALERT_TABS, Tabs } from "../ui/tabs";
import { AcknowledgeDialog } from "./alert_acknowledge";
import { SilenceDialog } from "./silence_dialog";

const PAGE = 50;
const STATES: readonly (readonly [AlertState | "all", string])[] = [
  ["firing", "Now"],
  ["resolved", "Over"],
  ["all", "All"],
];

export function AlertsPage() {
  const [search, setSearch] = useQuery();
  const state = STATES.find(([each]) => each === search.get("state"))?.[0] ?? "firing";
  const severity = search.get("severity") ?? "";
  const offset = Math.max(0, Number(search.get("offset")) || 0);
  const filter = { severity, rule: search.get("rule"), device: search.get("device") };
  const path = "/alerts" + query({ state, ...filter, offset: offset || null, limit: PAGE });
  const found = useResource<AlertList>(path, { on: touches("alert"), everyMs: 1000, pollMs: 60_000 });
  const kept = useKept(found.value);
  const shown = { ...found, value: found.value ?? (found.error ? undefined : kept), loading: kept === undefined && !found.error };
  const about = [filter.rule && `rule ${filter.rule}`, filter.device && `device ${filter.device}`].filter(Boolean).join(", ");
  return (
    <Page title="Alerts" lead="What the rules found: what is wrong, where, since when and with which model.">
      <Tabs label="Alerts" tabs={ALERT_TABS} here="/alerts" />
      <div class="row apart">
        <Choice
          label="Which alerts"
          value={state}
          options={STATES}
          onChange={(value) => setSearch({ state: value === "firing" ? null : value, offset: null })}
          testid="alerts-state"
        />
        <span class="row">
          {about && (
            <span class="row">
              <span class="tag">{about}</span>
              <button type="button" class="text" onClick={() => setSearch({ rule: null, device: null, offset: null })}>
                all alerts
              </button>
            </span>
          )}
          <select
            class="inline"
            aria-label="Severity"
            value={severity}
            onChange={(event) => setSearch({ severity: event.currentTarget.value || null, offset: null })}
            data-testid="alerts-severity"
          >
            <option value="">any severity</option>
            {Object.keys(severityWords).map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </span>
      </div>
      <Loaded from={shown} lines={6}>
        {(list) => (
          <>
            {state === "firing" && <Summary list={list} onSeverity={(value) => setSearch({ severity: value, offset: null })} />}
            <List list={list} offset={offset} state={state} filtered={severity !== "" || about !== ""} onPage={(next) => setSearch({ offset: next ? String(next) : null })} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Summary({ list, onSeverity }: { list: AlertList; onSeverity: (severity: Severity) => void }) {
  const { firing } = list;
  const all = firing.critical + firing.warning + firing.info;
  if (all === 0) return null;
  return (
    <dl class="tiles alert-tiles" data-testid="alerts-summary">
      {(["critical", "warning", "info"] as const).map((severity) => (
        <div class="tile" key={severity}>
          <dt>{severity}</dt>
          <dd class={`figure ${firing[severity] > 0 ? `toned ${severityWords[severity].tone}` : ""}`}>
            {firing[severity] > 0 ? (
              <button type="button" class="text" onClick={() => onSeverity(severity)} title={`Only ${severity}`}>
                {firing[severity].toLocaleString("en-US")}
              </button>
            ) : (
              0
            )}
          </dd>
        </div>
      ))}
      <div class="tile">
        <dt>nobody is on it</dt>
        <dd class="figure">{wanting(firing).toLocaleString("en-US")}</dd>
        <dd class="aside">
          {firing.acknowledged} acknowledged, {firing.silenced} silenced
        </dd>
      </div>
    </dl>
  );
}

interface ListProps {
  list: AlertList;
  offset: number;
  state: AlertState | "all";
  filtered: boolean;
  onPage: (offset: number) => void;
}
function List({ list, offset, state, filtered, onPage }: ListProps) {
  const now = useNow();
  const [acknowledging, setAcknowledging] = useState<Alert | null>(null);
  const [silencing, setSilencing] = useState<Alert | null>(null);
  const may = useMay("operator");
  if (list.alerts.length === 0) {
    return (
      <Card>
        {filtered ? (
          <Empty icon="search" title="None like that">
            No alert fits what is chosen above.
          </Empty>
        ) : state === "firing" ? (
          <Empty icon="check" title="All is well" action={<Link href="/alerts/rules" class="button">See what is watched</Link>}>
            No rule fires now. What was is under “Over”.
          </Empty>
        ) : (
          <Empty icon="bell" title="No alert yet" action={<Link href="/alerts/rules" class="button">See what is watched</Link>}>
            Alerts are kept here with their story once a rule has fired.
          </Empty>
        )}
      </Card>
    );
  }
  return (
    <>
      <ul class="alert-list" data-testid="alert-list">
        {list.alerts.map((alert) => (
          <li key={alert.id} class={`alert ${alert.state === "resolved" ? "good" : severityWords[alert.severity].tone}`} data-testid={`alert-${alert.id}`}>
            <div class="alert-main">
              <div class="row">
                <Link href={`/alerts/${encodeURIComponent(alert.id)}`} class="alert-title">
                  {alert.title}
                </Link>
                <Badge word={alertWord(alert)} />
                {alert.state === "firing" && alertWord(alert).tone === "idle" && <Badge word={severityWords[alert.severity]} />}
              </div>
              <p class="alert-sentence">{alert.sentence}</p>
              <p class="alert-about note">
                <span title={date(alert.since)}>
                  {lastedWords(alert, now)}
                  {alert.resolved_at !== null && `, over ${ago(alert.resolved_at, now)}`}
                </span>
                <Where alert={alert} />
                {alert.acknowledged_by && (
                  <span>
                    {alert.acknowledged_by} is on it{alert.acknowledged_note && `: ${alert.acknowledged_note}`}
                  </span>
                )}
              </p>
            </div>
            {may && alert.state === "firing" && (
              <div class="alert-actions">
                {alert.acknowledged_by === null && (
                  <button type="button" class="small" onClick={() => setAcknowledging(alert)} data-testid={`acknowledge-${alert.id}`}>
                    <Icon name="check" />
                    Acknowledge
                  </button>
                )}
                {!alert.silenced && (
                  <button type="button" class="small" onClick={() => setSilencing(alert)} data-testid={`silence-${alert.id}`}>
                    <Icon name="mute" />
                    Silence
                  </button>
                )}
              </div>
            )}
          </li>
        ))}
      </ul>
      {(offset > 0 || list.total > offset + list.alerts.length) && (
        <div class="table-foot">
          <button type="button" class="small" disabled={offset === 0} onClick={() => onPage(Math.max(0, offset - PAGE))}>
            Newer
          </button>
          <span class="note">
            {offset + 1} to {offset + list.alerts.length} of {plural(list.total, "alert")}
          </span>
          <button type="button" class="small" disabled={list.total <= offset + list.alerts.length} onClick={() => onPage(offset + PAGE)}>
            Older
          </button>
        </div>
      )}
      {acknowledging && <AcknowledgeDialog alert={acknowledging} onClose={() => setAcknowledging(null)} />}
      {silencing && <SilenceDialog about={silencing} onClose={() => setSilencing(null)} />}
    </>
  );
}

/** Where it is and with what: each leads there. */
export function Where({ alert }: { alert: Alert }) {
  const device = alert.first_subject.startsWith("device:") ? alert.first_subject.slice(7) : null;
  return (
    <>
      {alert.subjects > 1 && <span>{alert.subjects.toLocaleString("en-US")} {alert.first_subject.startsWith("device:") ? "devices" : "subjects"}</span>}
      {alert.subjects <= 1 && device && <Link href={`/devices/${encodeURIComponent(device)}`}>{device}</Link>}
      {Object.entries(alert.scope).map(([key, value]) =>
        key === "profile" ? (
          <Link key={key} href={`/profiles/${encodeURIComponent(value)}`}>
            {value}
          </Link>
        ) : key === "model" || key === "artifact" ? null : (
          <span key={key}>
            {key.replace("label:", "")} {value || "without"}
          </span>
        ),
      )}
      {alert.model && (
        <span>
          model <Link href={`/models/${encodeURIComponent(alert.model)}${alert.artifact ? `?artifact=${alert.artifact}` : ""}`}>{alert.model}</Link>
        </span>
      )}
      {alert.rollout && (
        <span>
          since <Link href={`/rollouts/${encodeURIComponent(alert.rollout)}`}>a rollout</Link>
        </span>
      )}
    </>
  );
}
