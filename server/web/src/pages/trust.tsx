import { touches, useResource } from "../api/resource";
import type { Keys, KeysRole } from "../api/trust";
import type { Release } from "../api/types";
import { ago, date, plural, until } from "../text/format";
import { ROLE_WORDS, roleTitle, signatureSteps, type Step, whereWord } from "../text/trust";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, CopyButton, Empty, Fact, Loaded, Message, Notice, Page } from "../ui/parts";
import { SETTINGS_TABS, Tabs } from "../ui/tabs";

export function TrustPage() {
  const keys = useResource<Keys>("/keys", { pollMs: 15_000 });
  const releases = useResource<Release[]>("/releases", { on: touches("release"), everyMs: 1000 });
  const signing = keys.value?.roles.find((role) => role.role === "release");
  const online = (signing?.keys.filter((key) => key.here).length ?? 0) >= (signing?.threshold ?? 1);
  return (
    <Page
      title="Keys"
      lead={`Who may say what runs: devices check every order against these keys. ${signing ? thief(online) : ""}`}
    >
      <Tabs label="Settings" tabs={SETTINGS_TABS} here="/trust" />
      <Loaded from={keys} lines={5}>
        {(value) => (
          <>
            {value.warnings.map((warning) => (
              <Notice key={warning} tone="warn" testid="trust-warning">
                <p>
                  <Message text={warning} />
                </p>
              </Notice>
            ))}
            {value.pending_root !== null && (
              <Card title={`Root ${value.pending_root} waits for its signatures`} testid="trust-pending-root">
                <Steps steps={signatureSteps("root", "root")} />
              </Card>
            )}
            <Roles keys={value} />
          </>
        )}
      </Loaded>
      <Card flush title="Releases that wait for a signature" testid="trust-waiting">
        <Loaded from={releases} lines={2}>
          {(all) => <Waiting releases={all.filter((each) => each.state === "awaiting_signature")} online={online} />}
        </Loaded>
      </Card>
    </Page>
  );
}

/** What the keys' places mean for a stolen server; docs/trust.md says the rest. */
const thief = (online: boolean) =>
  online
    ? "The release key is on the server, so whoever takes the server can make devices run anything; take it offline to end that."
    : "The server alone cannot sign releases, so whoever takes it cannot make a device run what was not released.";

function Roles({ keys }: { keys: Keys }) {
  const now = useNow(60_000);
  const soon = keys.root_expires_at - now < 30 * 86_400_000;
  return (
    <Card flush title="Roles">
      <div class="table-box" tabIndex={0} role="region" aria-label="Roles">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Role</th>
              <th scope="col">Private keys</th>
              <th scope="col">Must sign</th>
              <th scope="col">Key ids</th>
            </tr>
          </thead>
          <tbody>
            {keys.roles.map((role) => (
              <RoleRow key={role.role} role={role} />
            ))}
          </tbody>
        </table>
      </div>
      <div class="card-foot">
        <dl class="facts">
          <Fact name="Newest root">version {keys.root_version}</Fact>
          <Fact name="It expires">
            <span class={soon ? "problem" : ""}>
              {date(keys.root_expires_at)}, {until(keys.root_expires_at, now)}
            </span>
          </Fact>
          <Fact name="Changed by" wide>
            <code>edgepress keys</code> on the server's machine; who changed what is in the{" "}
            <Link href="/audit">audit log</Link>
          </Fact>
        </dl>
      </div>
    </Card>
  );
}

function RoleRow({ role }: { role: KeysRole }) {
  return (
    <tr data-testid={`trust-role-${role.role}`}>
      <th scope="row">
        {roleTitle(role.role)}
        <span class="sub">{ROLE_WORDS[role.role]?.what}</span>
      </th>
      <td>
        <Badge word={whereWord(role)} />
      </td>
      <td class="grow-phone">
        {role.threshold} of {plural(role.keys.length, "key")}
      </td>
      <td class="grow-phone">
        {role.keys.map((key) => (
          <div key={key.keyid} class="key-line">
            <code title={key.keyid}>{key.keyid.slice(0, 16)}</code> <span class="note">{key.here ? "here" : "elsewhere"}</span>
          </div>
        ))}
      </td>
    </tr>
  );
}

function Waiting({ releases, online }: { releases: readonly Release[]; online: boolean }) {
  const now = useNow(30_000);
  if (releases.length === 0) {
    return (
      <Empty icon="check" title="None waits">
        {online
          ? "The release key is on the server, so releases are signed at once."
          : "A release made from now on waits here until a key that is kept elsewhere has signed it."}
      </Empty>
    );
  }
  return (
    <ul class="waiting-releases">
      {releases.map((release) => (
        <li key={release.id} data-testid={`trust-release-${release.id}`}>
          <div class="row apart">
            <h3>
              {release.model}, release {release.counter}
            </h3>
            <Badge
              word={{ text: `${release.signatures} of ${plural(release.signatures_needed, "signature")}`, tone: "warn" }}
            />
          </div>
          <p class="note">
            Made {ago(release.created_at, now)}
            {release.actor ? ` by ${release.actor}` : ""} for {Object.keys(release.artifacts).join(", ")}. Its rollouts stay
            drafts until it is signed; then they go on by themselves.
          </p>
          <Steps steps={signatureSteps(release.id, "release")} />
        </li>
      ))}
    </ul>
  );
}

export function Steps({ steps }: { steps: readonly Step[] }) {
  return (
    <ol class="command-steps">
      {steps.map(({ where, command }) => (
        <li key={command}>
          <span class="sub">{where}</span>
          <div class="secret">
            <code>{command}</code>
            <CopyButton text={command} label="Copy" />
          </div>
        </li>
      ))}
    </ol>
  );
}
