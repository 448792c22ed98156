import { useEffect, useState } from "preact/hooks";
import { get, query } from "../api/client";
import type { AuditEntry, AuditPage as Answer, AuditVerdict } from "../api/people";
import { useResource } from "../api/resource";
import { useMay } from "../api/session";
import { actionWords, sentWords } from "../text/audit";
import { date, plural } from "../text/format";
import { useAction } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { CopyButton, Card, Empty, Failure, Loaded, Notice, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { SETTINGS_TABS, Tabs } from "../ui/tabs";

const ROWS = 100;

export function AuditPage() {
  const may = useMay("operator"); // else the one answer says who may
  return (
    <Page
      title="Audit log"
      lead="Who did what, in a log that only grows. Each row holds the hash of the one before it, so a changed or missing row shows."
      actions={
        may && (
          <a class="button" href="/api/v1/audit/export" download data-testid="audit-export">
            <Icon name="download" />
            Export
          </a>
        )
      }
    >
      <Tabs label="Settings" tabs={SETTINGS_TABS} here="/audit" />
      <Chain />
      {may && <Rows />}
    </Page>
  );
}

/** Whether the chain holds, walked by the server when the page opens and on request. */
function Chain() {
  const verdict = useResource<AuditVerdict>("/audit/verify");
  return (
    <Card testid="audit-chain">
      <Loaded from={verdict} lines={1}>
        {(value) =>
          value.holds ? (
            <Notice tone="good" testid="audit-holds">
              <p>
                Chain verified: {value.rows === 1 ? "the one row holds" : `all ${plural(value.rows, "row")} hold`}. Keep
                the head elsewhere: with it anybody can tell later that nothing up to here was changed or cut off.
              </p>
              <div class="secret">
                <code>
                  {value.head.number}:{value.head.hash}
                </code>
                <CopyButton text={`${value.head.number}:${value.head.hash}`} label="Copy" />
              </div>
            </Notice>
          ) : (
            <Notice tone="bad" testid="audit-broken">
              <p>
                Row {value.broken} does not hold: {value.reason}. Somebody changed the log around the server. The{" "}
                {plural(value.rows, "row")} before it hold; compare with an exported copy from then on.
              </p>
            </Notice>
          )
        }
      </Loaded>
    </Card>
  );
}

function Rows() {
  const [search, setSearch] = useQuery();
  const filter = { actor: search.get("actor"), action: search.get("action"), subject: search.get("subject") };
  const path = "/audit" + query({ ...filter, limit: ROWS });
  const newest = useResource<Answer>(path, { on: (change) => change.kind !== "telemetry", everyMs: 1500 });
  const [older, setOlder] = useState<{ path: string; rows: AuditEntry[]; end: boolean }>({ path, rows: [], end: false });
  useEffect(() => setOlder({ path, rows: [], end: false }), [path]);
  const known = older.path === path ? older : { path, rows: [], end: false };
  const first = newest.value?.entries ?? [];
  const rows = [...new Map([...known.rows, ...first].map((row) => [row.number, row])).values()].sort(
    (a, b) => b.number - a.number,
  );
  const last = rows[rows.length - 1]?.number ?? 0;
  const more = useAction(async () => {
    const page = await get<Answer>("/audit" + query({ ...filter, limit: ROWS, before: last }));
    setOlder((old) => ({ path, rows: [...(old.path === path ? old.rows : []), ...page.entries], end: page.entries.length < ROWS }));
  });
  const filtered = Object.values(filter).some(Boolean);
  return (
    <Card flush>
      <Loaded from={newest} lines={8}>
        {(page) => (
          <>
            <div class="card-head filters" role="search">
              <Filter label="Person" value={filter.actor} onChange={(actor) => setSearch({ actor })} testid="audit-actor" />
              <select
                aria-label="Action"
                value={filter.action ?? ""}
                onChange={(event) => setSearch({ action: event.currentTarget.value || null })}
                data-testid="audit-action"
              >
                <option value="">Every action</option>
                {page.actions.map((action) => (
                  <option key={action} value={action}>
                    {actionWords(action)}
                  </option>
                ))}
              </select>
              <Filter
                label="Device, release, rollout …"
                value={filter.subject}
                onChange={(subject) => setSearch({ subject })}
                testid="audit-subject"
                whole
              />
            </div>
            {rows.length === 0 ? (
              <Empty icon="audit" title={filtered ? "No row matches" : "Nothing was done yet"}>
                {filtered
                  ? "Names must be given whole. Try fewer filters."
                  : "Whatever people and programs change from now on is written here."}
              </Empty>
            ) : (
              <Table rows={rows} />
            )}
            {more.error && <Failure error={more.error} />}
            {rows.length > 0 && last > 1 && !known.end && (known.rows.length > 0 || first.length === ROWS) && (
              <footer class="table-foot">
                <button type="button" disabled={more.busy} onClick={more.run} data-testid="audit-older">
                  Show older rows
                </button>
              </footer>
            )}
          </>
        )}
      </Loaded>
    </Card>
  );
}

interface FilterProps {
  label: string;
  value: string | null;
  onChange: (value: string | null) => void;
  testid: string;
  whole?: boolean; // a line of its own on a phone
}
function Filter({ label, value, onChange, testid, whole }: FilterProps) {
  return (
    <input
      type="search"
      class={whole ? "whole-phone" : undefined}
      aria-label={label}
      placeholder={label}
      value={value ?? ""}
      onChange={(event) => onChange(event.currentTarget.value.trim() || null)}
      data-testid={testid}
    />
  );
}

function who(row: AuditEntry): string {
  if (row.actor !== null) return row.actor;
  if (row.action.endsWith("_failed")) return "somebody";
  return row.action.startsWith("enrol") || row.action.startsWith("renew") ? "a device" : "the server";
}

function Table({ rows }: { rows: readonly AuditEntry[] }) {
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Audit log">
      <table class="stacking">
        <thead>
          <tr>
            <th scope="col" class="num">
              Row
            </th>
            <th scope="col">When</th>
            <th scope="col">Who</th>
            <th scope="col">Did what</th>
            <th scope="col" class="col-2">
              From
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const details = sentWords(row);
            return (
              <tr key={row.number} data-testid={`audit-row-${row.number}`}>
                <td class="num col-2">{row.number}</td>
                <td class="when">{date(row.at)}</td>
                <th scope="row">{who(row)}</th>
                <td class="grow wide">
                  {actionWords(row.action)} {row.subject && row.subject !== row.actor && <b>{row.subject}</b>}
                  {details && <span class="sub">{details}</span>}
                </td>
                <td class="col-2 sub">{row.source}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
