import { useState } from "preact/hooks";
import { del, post } from "../api/client";
import { useResource } from "../api/resource";
import type { Health, NewToken, Token } from "../api/types";
import { ago, date } from "../text/format";
import { Confirm, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { useNow } from "../ui/now";
import { Badge, Card, CopyButton, Empty, Fact, Failure, Loaded, Notice, Page } from "../ui/parts";

export function SettingsPage() {
  return (
    <Page title="Settings">
      <div class="columns">
        <Tokens />
        <div class="stack">
          <ServerCard />
          <Card title="For programs">
            <p>
              Every page here uses the same REST API: <a href="/api/docs">browse it</a>, or read its{" "}
              <a href="/api/v1/openapi.json">OpenAPI document</a>.
            </p>
          </Card>
        </div>
      </div>
    </Page>
  );
}

function Tokens() {
  const tokens = useResource<Token[]>("/tokens", { on: (change) => change.kind === "person" || change.kind === "token" });
  const now = useNow(30_000);
  const [name, setName] = useState("");
  const [made, setMade] = useState<NewToken | null>(null);
  const [revoking, setRevoking] = useState<Token | null>(null);
  const create = useAction(async () => {
    setMade(await post<NewToken>("/tokens", { name: name.trim() }));
    setName("");
    tokens.reload();
  });
  return (
    <Card flush title="Tokens" note="For the command line and for programs. A token may do what you may.">
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
          const live = all.filter((token) => !token.revoked_at);
          return live.length === 0 ? (
            <Empty icon="settings" title="No token yet">
              Create one, then <code>export EDGEPRESS_TOKEN=…</code> where the command line runs.
            </Empty>
          ) : (
            <div class="table-box" tabIndex={0} role="region" aria-label="Tokens">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Name</th>
                    <th scope="col" class="col-2">
                      Created
                    </th>
                    <th scope="col">Used</th>
                    <th scope="col">
                      <span class="visually-hidden">Actions</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {live.map((token) => (
                    <tr key={token.id} data-testid={`token-row-${token.name}`}>
                      <th scope="row">{token.name}</th>
                      <td class="col-2">{date(token.created_at)}</td>
                      <td>{ago(token.last_used_at, now)}</td>
                      <td class="tight">
                        <button
                          type="button"
                          class="small danger"
                          onClick={() => setRevoking(token)}
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

const ROLE_WORDS: Record<string, string> = {
  web: "Web and API",
  link: "MQTT link",
  worker: "Compression worker",
  broker: "MQTT broker",
};

function ServerCard() {
  const health = useResource<Health>("/health", { pollMs: 5000 });
  return (
    <Card title="Server">
      <Loaded from={health}>
        {(value) => (
          <dl class="facts">
            <Fact name="Version">{value.version}</Fact>
            {Object.entries(value.roles).map(([role, state]) => (
              <Fact key={role} name={ROLE_WORDS[role] ?? role}>
                <Badge word={state === "ok" ? { text: "ok", tone: "good" } : { text: "down", tone: "bad" }} />
              </Fact>
            ))}
            <Fact name="Connected to the broker">
              <Badge word={value.mqtt_connected ? { text: "yes", tone: "good" } : { text: "no", tone: "bad" }} />
            </Fact>
          </dl>
        )}
      </Loaded>
    </Card>
  );
}
