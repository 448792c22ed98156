import { useState } from "preact/hooks";
import { del, put } from "../api/client";
import { useResource } from "../api/resource";
import type { Group, Matches } from "../api/rollouts";
import { useMay } from "../api/session";
import { usePreview } from "../api/use_preview";
import { ago, plural } from "../text/format";
import { Confirm, Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { useNow } from "../ui/now";
import { Card, Empty, Failure, Loaded, Page } from "../ui/parts";
import { DEVICE_TABS, Tabs } from "../ui/tabs";

export function GroupsPage() {
  const groups = useResource<Group[]>("/groups", { on: (change) => change.kind === "server" || change.kind === "device", everyMs: 3000 });
  const [editing, setEditing] = useState<Group | "new" | null>(null);
  const may = useMay("operator");
  const create = may && (
    <button type="button" class="primary" onClick={() => setEditing("new")} data-testid="group-open">
      <Icon name="plus" />
      New group
    </button>
  );
  return (
    <Page
      title="Groups"
      lead="Named queries over devices. Who is in a group is looked up whenever it is used, so nobody keeps lists."
      actions={create}
    >
      <Tabs label="Devices" tabs={DEVICE_TABS} here="/groups" />
      <Card flush>
        <Loaded from={groups} lines={4}>
          {(all) =>
            all.length === 0 ? (
              <Empty icon="group" title="No group yet" action={create}>
                For example <code>site = "hall 3" and not label.test</code>. Rollouts can be for a group.
              </Empty>
            ) : (
              <GroupTable groups={all} may={may} onEdit={setEditing} reload={groups.reload} />
            )
          }
        </Loaded>
      </Card>
      <QueryHelp />
      {editing && <GroupDialog group={editing === "new" ? null : editing} onClose={() => setEditing(null)} reload={groups.reload} />}
    </Page>
  );
}

interface TableProps {
  groups: readonly Group[];
  may: boolean;
  onEdit: (group: Group) => void;
  reload: () => void;
}
function GroupTable({ groups, may, onEdit, reload }: TableProps) {
  const now = useNow(30_000);
  const [removing, setRemoving] = useState<Group | null>(null);
  return (
    <>
      <div class="table-box" tabIndex={0} role="region" aria-label="Groups">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Group</th>
              <th scope="col" class="num">
                Devices
              </th>
              <th scope="col">Query</th>
              <th scope="col" class="num col-2">
                Changed
              </th>
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {groups.map((group) => (
              <tr key={group.name} data-testid={`group-row-${group.name}`}>
                <th scope="row">
                  {group.name}
                  {group.note && <span class="sub">{group.note}</span>}
                </th>
                <td class="num">{group.devices_total.toLocaleString("en-US")}</td>
                <td class="grow wide">
                  <code>{group.query}</code>
                </td>
                <td class="num col-2">
                  {ago(group.updated_at, now)}
                  {group.actor && <span class="sub">by {group.actor}</span>}
                </td>
                <td class="tight">
                  {may && (
                    <span class="row tight">
                      <button type="button" class="small" onClick={() => onEdit(group)} data-testid={`group-edit-${group.name}`}>
                        Change
                      </button>
                      <button
                        type="button"
                        class="small danger"
                        onClick={() => setRemoving(group)}
                        aria-label={`Remove ${group.name}`}
                        data-testid={`group-remove-${group.name}`}
                      >
                        Remove
                      </button>
                    </span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {removing && (
        <Confirm
          title={`Remove the group ${removing.name}?`}
          verb="Remove"
          onClose={() => setRemoving(null)}
          act={() => del(`/groups/${encodeURIComponent(removing.name)}`).then(reload)}
          testid="group-remove-confirm"
        >
          <p>Its devices stay, and so do rollouts that were made for it.</p>
        </Confirm>
      )}
    </>
  );
}

function GroupDialog({ group, onClose, reload }: { group: Group | null; onClose: () => void; reload: () => void }) {
  const [name, setName] = useState(group?.name ?? "");
  const [query, setQuery] = useState(group?.query ?? "");
  const [note, setNote] = useState(group?.note ?? "");
  const save = useAction(
    () => put(`/groups/${encodeURIComponent(name.trim())}`, { query: query.trim(), note: note.trim() }).then(reload),
    onClose,
  );
  const ready = name.trim() !== "" && query.trim() !== "";
  return (
    <Dialog title={group ? `Change ${group.name}` : "New group"} onClose={onClose} wide testid="group-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) save.run();
        }}
      >
        <div class="dialog-body">
          {save.error && <Failure error={save.error} />}
          {!group && (
            <Field label="Name" hint="Such as hall-3; it stays its name.">
              {(ids) => (
                <input
                  {...ids}
                  autofocus
                  autocomplete="off"
                  autocapitalize="none"
                  value={name}
                  onInput={(event) => setName(event.currentTarget.value)}
                  data-testid="group-name"
                />
              )}
            </Field>
          )}
          <Field label="Query">
            {(ids) => (
              <textarea
                {...ids}
                rows={3}
                class="mono"
                spellcheck={false}
                placeholder={'site = "hall 3" and not label.test'}
                value={query}
                onInput={(event) => setQuery(event.currentTarget.value)}
                data-testid="group-query"
              />
            )}
          </Field>
          <QueryMatches query={query} />
          <Field label="Note (may stay empty)">
            {(ids) => (
              <input {...ids} maxLength={200} value={note} onInput={(event) => setNote(event.currentTarget.value)} data-testid="group-note" />
            )}
          </Field>
          {group && <p class="note">Rollouts that run see the change with devices that come later; who is in them stays.</p>}
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!ready || save.busy} data-testid="group-save">
            Save
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** How many devices a query fits now, and which; its error points at the character. */
export function QueryMatches({ query }: { query: string }) {
  const found = usePreview<Matches>("/groups/matches", query.trim() === "" ? null : { query: query.trim() });
  if (query.trim() === "") return null;
  if (found.error) return <pre class="command problem" data-testid="query-problem">{found.error.message}</pre>;
  if (!found.value) return <p class="note">Looking which devices fit …</p>;
  const shown = found.value.devices.slice(0, 8);
  const more = found.value.devices_total - shown.length;
  return (
    <p class="note" role="status" data-testid="query-matches">
      Fits {plural(found.value.devices_total, "device")} now
      {shown.length > 0 && `: ${shown.join(", ")}${more > 0 ? ` and ${more.toLocaleString("en-US")} more` : ""}`}.
    </p>
  );
}

const EXAMPLES: readonly (readonly [string, string])[] = [
  ['site = "hall 3" and not label.test', "labels; not: it does not have that label"],
  ["profile = raspberry-pi-4 and online", "profile, and is it there now"],
  ["agent < 0.6 or system = *bullseye*", "versions part by part; * stands for anything"],
  ["group = canaries and release < 12", "another group, and what it runs"],
  ["name in (press-01, press-02)", "one of several values"],
];

function QueryHelp() {
  return (
    <Card title="How queries are written">
      <dl class="examples">
        {EXAMPLES.map(([query, what]) => (
          <div key={query}>
            <dt>
              <code>{query}</code>
            </dt>
            <dd class="note">{what}</dd>
          </div>
        ))}
      </dl>
      <p class="note">
        Fields: name, profile, status, online, running, model, release, agent, board, system, machine, group, and every
        label by its name.
      </p>
    </Card>
  );
}
