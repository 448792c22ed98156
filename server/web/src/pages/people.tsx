import { useContext, useState } from "preact/hooks";
import { del, patch, post, put } from "../api/client";
import type { NewPassword, Person } from "../api/people";
import { touches, useResource } from "../api/resource";
import { SessionContext, useMay } from "../api/session";
import type { Role } from "../api/types";
import { ago, date } from "../text/format";
import { Confirm, Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { useNow } from "../ui/now";
import { Card, CopyButton, Failure, Loaded, Notice, Page } from "../ui/parts";
import { SETTINGS_TABS, Tabs } from "../ui/tabs";

export const ROLES: readonly (readonly [Role, string])[] = [
  ["viewer", "looks at everything, changes nothing"],
  ["operator", "also registers devices, compresses, releases and rolls out"],
  ["admin", "also people and keys"],
];

export function PeoplePage() {
  const people = useResource<Person[]>("/people", { on: touches("person"), everyMs: 800 });
  const may = useMay("admin");
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<NewPassword | null>(null);
  const told = (answer: NewPassword) => {
    setMade(answer.password === null ? null : answer);
    people.reload();
  };
  return (
    <Page
      title="People"
      lead="Who may use this server, and as what."
      actions={
        may && (
          <button type="button" class="primary" onClick={() => setAdding(true)} data-testid="person-open">
            <Icon name="plus" />
            Add somebody
          </button>
        )
      }
    >
      <Tabs label="Settings" tabs={SETTINGS_TABS} here="/people" />
      {made && (
        <Notice tone="good" testid="person-made">
          <p>
            {made.name} signs in with this password. It is shown only now.
          </p>
          <div class="secret">
            <code data-testid="person-password">{made.password}</code>
            <CopyButton text={made.password ?? ""} label="Copy" />
          </div>
        </Notice>
      )}
      <Card flush>
        <Loaded from={people} lines={4}>
          {(all) => <PeopleTable people={all} told={told} reload={people.reload} />}
        </Loaded>
      </Card>
      {adding && <AddDialog told={told} onClose={() => setAdding(false)} />}
    </Page>
  );
}

interface TableProps {
  people: readonly Person[];
  told: (answer: NewPassword) => void;
  reload: () => void;
}
function PeopleTable({ people, told, reload }: TableProps) {
  const now = useNow(30_000);
  const me = useContext(SessionContext).person;
  const [removing, setRemoving] = useState<Person | null>(null);
  const [resetting, setResetting] = useState<Person | null>(null);
  const lastAdmin = people.filter((person) => person.role === "admin").length === 1;
  return (
    <>
      <div class="table-box" tabIndex={0} role="region" aria-label="People">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Role</th>
              <th scope="col" class="col-2">
                Added
              </th>
              <th scope="col" class="col-2">
                Signed in
              </th>
              <th scope="col" class="num col-2">
                Tokens
              </th>
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {people.map((person) => {
              const stays = lastAdmin && person.role === "admin";
              return (
                <tr key={person.name} data-testid={`person-row-${person.name}`}>
                  <th scope="row">
                    {person.name}
                    {person.name === me && <span class="sub">you</span>}
                  </th>
                  <td>
                    <RoleChoice person={person} stays={stays} reload={reload} />
                  </td>
                  <td class="col-2">{date(person.created_at)}</td>
                  <td class="col-2">{person.signed_in_at === null ? "not now" : ago(person.signed_in_at, now)}</td>
                  <td class="num col-2">{person.tokens}</td>
                  <td class="tight">
                    <span class="row tight">
                      <button
                        type="button"
                        class="small"
                        onClick={() => setResetting(person)}
                        aria-label={`New password for ${person.name}`}
                        data-testid={`person-reset-${person.name}`}
                      >
                        New password
                      </button>
                      <button
                        type="button"
                        class="small danger"
                        disabled={stays}
                        title={stays ? "The last admin stays" : undefined}
                        onClick={() => setRemoving(person)}
                        aria-label={`Remove ${person.name}`}
                        data-testid={`person-remove-${person.name}`}
                      >
                        Remove
                      </button>
                    </span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {removing && (
        <Confirm
          title={`Remove ${removing.name}?`}
          verb="Remove"
          onClose={() => setRemoving(null)}
          act={async () => {
            await del(`/people/${encodeURIComponent(removing.name)}`);
            reload();
          }}
          testid="person-remove-confirm"
        >
          <p>
            Their browser sessions and their tokens end at once: programs that use one are refused from then on. What
            they did stays in the audit log.
          </p>
        </Confirm>
      )}
      {resetting && (
        <Confirm
          title={`A new password for ${resetting.name}?`}
          verb="Make a new password"
          onClose={() => setResetting(null)}
          act={async () => told(await put<NewPassword>(`/people/${encodeURIComponent(resetting.name)}/password`, {}))}
          testid="person-reset-confirm"
        >
          <p>A random one is made and shown once. Their browser sessions end; their tokens stay.</p>
        </Confirm>
      )}
    </>
  );
}

function RoleChoice({ person, stays, reload }: { person: Person; stays: boolean; reload: () => void }) {
  const [role, setRole] = useState<Role | null>(null);
  const change = useAction(async () => {
    await patch(`/people/${encodeURIComponent(person.name)}`, { role });
    reload();
  }, () => setRole(null));
  return (
    <>
      <select
        class="inline"
        aria-label={`Role of ${person.name}`}
        value={person.role}
        disabled={stays}
        title={stays ? "The last admin stays one" : undefined}
        onChange={(event) => {
          setRole(event.currentTarget.value as Role);
          event.currentTarget.value = person.role; // until it is so
        }}
        data-testid={`person-role-${person.name}`}
      >
        {ROLES.map(([each]) => (
          <option key={each} value={each}>
            {each}
          </option>
        ))}
      </select>
      {role && role !== person.role && (
        <Dialog title={`Make ${person.name} ${role}?`} onClose={() => setRole(null)}>
          <div class="dialog-body">
            <p>
              {person.name} was {person.role}. As {role} they {ROLES.find(([each]) => each === role)?.[1]}. It counts at
              once, also for open sessions and tokens.
            </p>
            {change.error && <Failure error={change.error} />}
          </div>
          <footer>
            <button type="button" onClick={() => setRole(null)}>
              Cancel
            </button>
            <button type="button" class="primary" disabled={change.busy} onClick={change.run} data-testid="person-role-confirm">
              Make them {role}
            </button>
          </footer>
        </Dialog>
      )}
    </>
  );
}

function AddDialog({ told, onClose }: { told: (answer: NewPassword) => void; onClose: () => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const add = useAction(async () => told(await post<NewPassword>("/people", { name: name.trim(), role })), onClose);
  return (
    <Dialog title="Add somebody" onClose={onClose} testid="person-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) add.run();
        }}
      >
        <div class="dialog-body">
          {add.error && <Failure error={add.error} />}
          <Field label="Name" hint="A random password is made and shown once; they may change it under Settings.">
            {(ids) => (
              <input
                {...ids}
                autofocus
                autocomplete="off"
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
                data-testid="person-name"
              />
            )}
          </Field>
          <fieldset>
            <legend class="legend-line">Role</legend>
            <ul class="stack tight">
              {ROLES.map(([each, what]) => (
                <li key={each}>
                  <label class="check">
                    <input
                      type="radio"
                      name="role"
                      checked={role === each}
                      onChange={() => setRole(each)}
                      data-testid={`person-role-${each}`}
                    />
                    <span>
                      {each}
                      <span class="sub">{what}</span>
                    </span>
                  </label>
                </li>
              ))}
            </ul>
          </fieldset>
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={add.busy || !name.trim()} data-testid="person-submit">
            Add
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
