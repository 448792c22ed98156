// Tokens for programs, and one's own password.

import { useContext, useState } from "preact/hooks";
import { del, post, put, setCsrf } from "../api/client";
import { useResource } from "../api/resource";
import { SessionContext } from "../api/session";
import type { NewToken, Role, Session, Token } from "../api/types";
import { ago, date, until } from "../text/format";
import { Confirm, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { useNow } from "../ui/now";
import { Card, CopyButton, Empty, Failure, Loaded, Notice } from "../ui/parts";

const LASTS: readonly (readonly [string, string])[] = [
  ["", "until it is revoked"],
  ["1", "a day"],
  ["30", "30 days"],
  ["365", "a year"],
];
const RANK: readonly Role[] = ["viewer", "operator", "admin"];

export function Tokens() {
  const me = useContext(SessionContext);
  const tokens = useResource<Token[]>("/tokens", { on: (change) => change.kind === "person" });
  const now = useNow(30_000);
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role | "">("");
  const [days, setDays] = useState("");
  const [made, setMade] = useState<NewToken | null>(null);
  const [revoking, setRevoking] = useState<Token | null>(null);
  const create = useAction(async () => {
    setMade(
      await post<NewToken>("/tokens", {
        name: name.trim(),
        role: role || null,
        expires_in_s: days ? Number(days) * 86_400 : null,
      }),
    );
    setName("");
    tokens.reload();
  });
  return (
    <Card flush title="Tokens" note="For the command line and for programs. A token may do what you may, or less.">
      <form
        class="token-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) create.run();
        }}
      >
        <Field label="Name of a new token">
          {(ids) => (
            <input
              {...ids}
              autocomplete="off"
              placeholder="laptop"
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
              data-testid="token-name"
            />
          )}
        </Field>
        <Field label="May do">
          {(ids) => (
            <select
              {...ids}
              value={role}
              onChange={(event) => setRole(event.currentTarget.value as Role | "")}
              data-testid="token-role"
            >
              <option value="">what I may</option>
              {RANK.slice(0, RANK.indexOf(me.role)).map((each) => (
                <option key={each} value={each}>
                  {each}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Lasts">
          {(ids) => (
            <select {...ids} value={days} onChange={(event) => setDays(event.currentTarget.value)} data-testid="token-days">
              {LASTS.map(([value, text]) => (
                <option key={value} value={value}>
                  {text}
                </option>
              ))}
            </select>
          )}
        </Field>
        <button type="submit" disabled={create.busy || !name.trim()} data-testid="token-create">
          Create
        </button>
      </form>
      {create.error && <Failure error={create.error} />}
      {made && (
        <Notice tone="good" testid="token-made">
          <p>This is the token {made.name}. It is shown only now.</p>
          <div class="secret">
            <code data-testid="token-secret">{made.token}</code>
            <CopyButton text={made.token} label="Copy" />
          </div>
        </Notice>
      )}
      <Loaded from={tokens}>
        {(all) => {
          const live = all.filter((token) => !token.revoked_at && (token.expires_at === null || token.expires_at > now));
          return live.length === 0 ? (
            <Empty icon="settings" title="No token yet">
              Create one, then <code>export EDGEPRESS_TOKEN=…</code> where the command line runs.
            </Empty>
          ) : (
            <TokenTable tokens={live} me={me.person} now={now} onRevoke={setRevoking} />
          );
        }}
      </Loaded>
      {revoking && (
        <Confirm
          title={`Revoke ${revoking.name}?`}
          verb="Revoke"
          onClose={() => setRevoking(null)}
          act={async () => {
            await del(`/tokens/${revoking.id}`);
            tokens.reload();
          }}
          testid="token-revoke-confirm"
        >
          <p>Programs that use it are refused from now on.</p>
        </Confirm>
      )}
    </Card>
  );
}

interface TableProps {
  tokens: readonly Token[];
  me: string;
  now: number;
  onRevoke: (token: Token) => void;
}
function TokenTable({ tokens, me, now, onRevoke }: TableProps) {
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Tokens">
      <table>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">May do</th>
            <th scope="col" class="col-2">
              Created
            </th>
            <th scope="col" class="col-2">
              Used
            </th>
            <th scope="col">
              <span class="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tokens.map((token) => (
            <tr key={token.id} data-testid={`token-row-${token.name}`}>
              <th scope="row">
                {token.name}
                {token.person !== me && <span class="sub">of {token.person}</span>}
              </th>
              <td>
                {token.role ?? `what ${token.person === me ? "I" : token.person} may`}
                {token.expires_at !== null && <span class="sub">ends {until(token.expires_at, now)}</span>}
              </td>
              <td class="col-2">{date(token.created_at)}</td>
              <td class="col-2">{ago(token.last_used_at, now)}</td>
              <td class="tight">
                <button
                  type="button"
                  class="small danger"
                  onClick={() => onRevoke(token)}
                  aria-label={`Revoke ${token.name}`}
                  data-testid={`token-revoke-${token.name}`}
                >
                  Revoke
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function OwnPassword() {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [done, setDone] = useState(false);
  const change = useAction(async () => {
    const session = await put<Session>("/session/password", { current, new: next });
    setCsrf(session.csrf);
    setCurrent("");
    setNext("");
    setDone(true);
  });
  const short = next !== "" && next.length < 8;
  return (
    <Card title="Your password" note="Other browsers in which you are signed in are signed out; tokens stay.">
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (current && next && !short) change.run();
        }}
      >
        {change.error && <Failure error={change.error} />}
        {done && !current && (
          <Notice tone="good" testid="password-changed">
            <p>You have the new password.</p>
          </Notice>
        )}
        <Field label="Current password">
          {(ids) => (
            <input
              {...ids}
              type="password"
              autocomplete="current-password"
              value={current}
              onInput={(event) => setCurrent(event.currentTarget.value)}
              data-testid="password-current"
            />
          )}
        </Field>
        <Field label="New password" problem={short ? "At least 8 characters." : null}>
          {(ids) => (
            <input
              {...ids}
              type="password"
              autocomplete="new-password"
              value={next}
              onInput={(event) => setNext(event.currentTarget.value)}
              data-testid="password-new"
            />
          )}
        </Field>
        <div>
          <button type="submit" disabled={change.busy || !current || !next || short} data-testid="password-submit">
            Change it
          </button>
        </div>
      </form>
    </Card>
  );
}
