// What is watched: each rule in a sentence, whether it is on, and what it finds now.

import { useEffect, useState } from "preact/hooks";
import type { KeptRule } from "../api/alerts";
import { del, post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { KINDS, severityWords } from "../text/alerts";
import { plural } from "../text/format";
import { Confirm, useAction } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { Badge, Card, Empty, Failure, Loaded, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { ALERT_TABS, Tabs } from "../ui/tabs";
import { RuleDialog } from "./alert_rule_dialog";

export function AlertRulesPage() {
  const rules = useResource<KeptRule[]>("/alert-rules", { on: touches("alert"), everyMs: 1000 });
  const [search, setSearch] = useQuery();
  const may = useMay("admin");
  const asked = search.get("rule");
  const editing = rules.value?.find((each) => each.name === asked) ?? null;
  const close = () => setSearch({ rule: null });
  const create = may && (
    <button type="button" class="primary" onClick={() => setSearch({ rule: "" })} data-testid="rule-open">
      <Icon name="plus" />
      New rule
    </button>
  );
  return (
    <Page title="Alerts" lead="What is watched. A rule that has too little to go by says nothing: missing is not zero." actions={create}>
      <Tabs label="Alerts" tabs={ALERT_TABS} here="/alerts/rules" />
      <Loaded from={rules} lines={8}>
        {(all) =>
          all.length === 0 ? (
            <Card>
              <Empty icon="bell" title="Nothing is watched" action={create}>
                A rule says which figure, of which devices, beyond what is wrong.
              </Empty>
            </Card>
          ) : (
            <RuleTable rules={all} may={may} reload={rules.reload} onOpen={(name) => setSearch({ rule: name })} />
          )
        }
      </Loaded>
      {asked !== null && rules.value && (asked === "" || editing) && (
        <RuleDialog key={asked} rule={editing} may={may} onClose={close} reload={rules.reload} />
      )}
    </Page>
  );
}

interface TableProps {
  rules: readonly KeptRule[];
  may: boolean;
  reload: () => void;
  onOpen: (name: string) => void;
}
const ORDER = { critical: 0, warning: 1, info: 2 } as const;

function RuleTable({ rules, may, reload, onOpen }: TableProps) {
  const [removing, setRemoving] = useState<KeptRule | null>(null);
  const sorted = [...rules].sort(
    (a, b) => Number(b.firing > 0) - Number(a.firing > 0) || Number(b.enabled) - Number(a.enabled) || ORDER[a.severity] - ORDER[b.severity] || a.title.localeCompare(b.title),
  );
  const off = rules.filter((each) => !each.enabled).length;
  return (
    <Card flush title={plural(rules.length, "rule")} note={off > 0 ? `${off} switched off` : undefined}>
      <div class="table-box" tabIndex={0} role="region" aria-label="Rules">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Rule</th>
              <th scope="col">Severity</th>
              <th scope="col">When it fires</th>
              <th scope="col">On</th>
              <th scope="col">Now</th>
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {sorted.map((rule) => (
              <tr key={rule.name} class={rule.enabled ? "rule-row" : "rule-row off"} data-testid={`rule-row-${rule.name}`}>
                <th scope="row">
                  {rule.title}
                  <span class="sub">
                    {KINDS[rule.kind]?.title ?? rule.kind}
                    {rule.shipped ? (rule.changed ? ", changed here" : "") : ", own"}
                    {" · "}
                    {rule.runbook_link.startsWith("/") ? (
                      <Link href={rule.runbook_link}>runbook</Link>
                    ) : (
                      <a href={rule.runbook_link} rel="noopener noreferrer" target="_blank">
                        runbook
                      </a>
                    )}
                  </span>
                </th>
                <td>
                  <Badge word={severityWords[rule.severity]} />
                </td>
                <td class="grow">{rule.words}</td>
                <td>
                  <Enabled rule={rule} may={may} reload={reload} />
                </td>
                <td>
                  {rule.firing > 0 ? (
                    <Link href={`/alerts?rule=${encodeURIComponent(rule.name)}`}>{plural(rule.firing, "alert")}</Link>
                  ) : (
                    <span class="note">{rule.enabled ? "quiet" : "off"}</span>
                  )}
                </td>
                <td class="tight">
                  <span class="row tight">
                    <button type="button" class="small" onClick={() => onOpen(rule.name)} data-testid={`rule-edit-${rule.name}`}>
                      {may ? "Change" : "Look"}
                    </button>
                    {may && !rule.shipped && (
                      <button
                        type="button"
                        class="small danger"
                        onClick={() => setRemoving(rule)}
                        aria-label={`Remove ${rule.title}`}
                        data-testid={`rule-remove-${rule.name}`}
                      >
                        Remove
                      </button>
                    )}
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {removing && (
        <Confirm
          title={`Remove the rule “${removing.title}”?`}
          verb="Remove"
          onClose={() => setRemoving(null)}
          act={() => del(`/alert-rules/${encodeURIComponent(removing.name)}`).then(reload)}
          testid="rule-remove-confirm"
        >
          <p>What it has found stays in the history; alerts of it that are open resolve.</p>
        </Confirm>
      )}
    </Card>
  );
}

function Enabled({ rule, may, reload }: { rule: KeptRule; may: boolean; reload: () => void }) {
  const [wanted, setWanted] = useState(rule.enabled); // shown at once; what the server says counts in the end
  useEffect(() => setWanted(rule.enabled), [rule.enabled, rule.updated_at]);
  const set = (enabled: boolean) =>
    post(`/alert-rules/${encodeURIComponent(rule.name)}/enable`, { enabled }).catch((failed: unknown) => {
      setWanted(rule.enabled);
      throw failed;
    });
  const toggle = useAction(() => set(!rule.enabled), reload);
  if (!may) return <span class="note">{rule.enabled ? "on" : "off"}</span>;
  return (
    <>
      <label class="switch">
        <input
          type="checkbox"
          checked={wanted}
          disabled={toggle.busy}
          onChange={() => {
            setWanted(!rule.enabled);
            toggle.run();
          }}
          aria-label={`${rule.title} is on`}
          data-testid={`rule-enabled-${rule.name}`}
        />
        <span class="phone">switched {rule.enabled ? "on" : "off"}</span>
      </label>
      {toggle.error && <Failure error={toggle.error} />}
    </>
  );
}
