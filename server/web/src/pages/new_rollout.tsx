// A release to devices: for whom, how carefully, and what that would do, shown while it is typed.

import { useState } from "preact/hooks";
import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Group, Plan, Rollout } from "../api/rollouts";
import type { Release } from "../api/types";
import { usePreview } from "../api/use_preview";
import { ago, bytes, plural } from "../text/format";
import { parseLabels } from "../text/names";
import { FIRST_POLICY, readPolicy } from "../text/policy";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Failure, Notice, Skeleton } from "../ui/parts";
import { navigate } from "../ui/route";
import { PolicyFields } from "./push_policy";

export function NewRolloutDialog({ release: given, onClose }: { release?: string; onClose: () => void }) {
  const releases = useResource<Release[]>("/releases", { on: touches("release"), everyMs: 1500 });
  const groups = useResource<Group[]>("/groups");
  const [chosen, setChosen] = useState(given ?? "");
  const [profiles, setProfiles] = useState<ReadonlySet<string>>(new Set());
  const [inGroups, setInGroups] = useState<ReadonlySet<string>>(new Set());
  const [labelText, setLabelText] = useState("");
  const [query, setQuery] = useState("");
  const [policy, setPolicy] = useState(FIRST_POLICY);
  const usable = (releases.value ?? []).filter((each) => each.state !== "withdrawn");
  const release =
    usable.find((each) => each.id === chosen) ?? usable.find((each) => !each.rollback && each.standby_for === null) ?? usable[0];
  const labels = parseLabels(labelText);
  const rules = readPolicy(policy);
  const body =
    release && typeof labels !== "string" && typeof rules !== "string"
      ? {
          release: release.id,
          ...(profiles.size > 0 ? { profiles: [...profiles].sort() } : {}),
          ...(Object.keys(labels).length > 0 ? { labels } : {}),
          ...(inGroups.size > 0 ? { groups: [...inGroups].sort() } : {}),
          ...(query.trim() ? { query: query.trim() } : {}),
          policy: rules,
        }
      : null;
  const plan = usePreview<Plan>("/rollouts/plan", body);
  const action = useAction(async () => {
    const made = await post<Rollout>("/rollouts", body);
    onClose();
    navigate(`/rollouts/${made.id}`);
  });
  const toggle = (set: ReadonlySet<string>, change: (next: ReadonlySet<string>) => void) => (name: string) => {
    const next = new Set(set);
    if (!next.delete(name)) next.add(name);
    change(next);
  };
  const count = plan.value?.devices_total ?? 0;
  return (
    <Dialog title="New rollout" onClose={onClose} wide testid="rollout-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (body && count > 0) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {releases.error && <Failure error={releases.error} retry={releases.reload} />}
          {releases.value === undefined ? (
            !releases.error && <Skeleton lines={3} />
          ) : usable.length === 0 ? (
            <Notice tone="warn">
              <p>
                There is no release yet. <Link href="/models">Push a model</Link>: it is compressed, released and rolled out.
              </p>
            </Notice>
          ) : (
            <>
              <ReleaseField releases={usable} value={release?.id ?? ""} onChange={setChosen} />
              <fieldset>
                <legend class="legend-line">For</legend>
                <p class="note">All that is said must fit; nothing said: every enrolled device that has an artifact.</p>
                <Chips
                  label="Profiles"
                  names={Object.keys(release?.artifacts ?? {})}
                  chosen={profiles}
                  onToggle={toggle(profiles, setProfiles)}
                  prefix="rollout-profile"
                />
                <Chips
                  label="Groups"
                  names={(groups.value ?? []).map((group) => group.name)}
                  chosen={inGroups}
                  onToggle={toggle(inGroups, setInGroups)}
                  prefix="rollout-group"
                />
                <div class="fields">
                  <Field label="Labels" hint="key=value, with commas between" problem={typeof labels === "string" ? labels : null}>
                    {(ids) => (
                      <input {...ids} value={labelText} onInput={(event) => setLabelText(event.currentTarget.value)} data-testid="rollout-labels" />
                    )}
                  </Field>
                  <Field label="Query" hint={'Such as online and not label.test'}>
                    {(ids) => (
                      <input
                        {...ids}
                        class="mono"
                        spellcheck={false}
                        value={query}
                        onInput={(event) => setQuery(event.currentTarget.value)}
                        data-testid="rollout-query"
                      />
                    )}
                  </Field>
                </div>
              </fieldset>
              <PolicyFields policy={policy} onChange={setPolicy} />
              <PlanView plan={plan.value} busy={plan.busy} />
              {plan.error && (
                <pre class="command problem" data-testid="rollout-plan-problem">
                  {plan.error.message}
                </pre>
              )}
            </>
          )}
        </div>
        <footer>
          <span class="footer-note" role="status">
            {plan.value ? plural(count, "device") : ""}
          </span>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={action.busy || !body || count === 0} data-testid="rollout-submit">
            {action.busy ? "Starting" : "Start the rollout"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

interface ReleaseProps {
  releases: readonly Release[];
  value: string;
  onChange: (id: string) => void;
}
function ReleaseField({ releases, value, onChange }: ReleaseProps) {
  const now = useNow(60_000);
  return (
    <Field label="Release">
      {(ids) => (
        <select {...ids} value={value} onChange={(event) => onChange(event.currentTarget.value)} data-testid="rollout-release">
          {releases.map((release) => (
            <option key={release.id} value={release.id}>
              {release.model}, release {release.counter}
              {release.rollback ? " (goes back)" : ""}
              {release.state === "awaiting_signature" ? ", waits for a signature" : ""}, {ago(release.created_at, now)}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

interface ChipsProps {
  label: string;
  names: readonly string[];
  chosen: ReadonlySet<string>;
  onToggle: (name: string) => void;
  prefix: string;
}
function Chips({ label, names, chosen, onToggle, prefix }: ChipsProps) {
  if (names.length === 0) return null;
  return (
    <div class="chip-row">
      <span class="sub">{label}</span>
      <div class="chips">
        {names.map((name) => (
          <label key={name} class="chip">
            <input type="checkbox" checked={chosen.has(name)} onChange={() => onToggle(name)} data-testid={`${prefix}-${name}`} />
            {name}
          </label>
        ))}
      </div>
    </div>
  );
}

/** What would happen: who in which stage, who not and why, and how much is sent. */
function PlanView({ plan, busy }: { plan: Plan | null; busy: boolean }) {
  if (!plan) return busy ? <Skeleton lines={2} /> : null;
  const left = Object.values(plan.left_out_total).reduce((sum, n) => sum + n, 0);
  const saved = plan.device_bytes_full - plan.device_bytes;
  const stages = Math.max(0, ...plan.profiles.map((profile) => profile.waves.length));
  return (
    <section class="plan" aria-label="What would happen" data-testid="rollout-plan" aria-busy={busy}>
      {plan.missing.map((each) => (
        <Notice key={each} tone="warn">
          <p>{each}</p>
        </Notice>
      ))}
      {plan.devices_total > 0 && (
        <>
          <div class="table-box" tabIndex={0} role="region" aria-label="Stages">
            <table>
              <thead>
                <tr>
                  <th scope="col">Profile</th>
                  {Array.from({ length: stages }, (_, i) => (
                    <th key={i} scope="col" class="num">
                      {i === 0 ? "Canaries" : stages === 2 ? "Then" : `Wave ${i}`}
                    </th>
                  ))}
                  <th scope="col" class="num">
                    Online
                  </th>
                  <th scope="col" class="num col-2">
                    Artifact
                  </th>
                  <th scope="col" class="num col-2">
                    By delta
                  </th>
                </tr>
              </thead>
              <tbody>
                {plan.profiles
                  .filter((profile) => profile.devices > 0)
                  .map((profile) => (
                    <tr key={profile.profile} data-testid={`plan-profile-${profile.profile}`}>
                      <th scope="row">{profile.profile}</th>
                      {Array.from({ length: stages }, (_, i) => (
                        <td key={i} class="num">
                          {profile.waves[i] ?? 0}
                        </td>
                      ))}
                      <td class="num">
                        {profile.online} of {profile.devices}
                      </td>
                      <td class="num col-2">{bytes(profile.bytes)}</td>
                      <td class="num col-2">{profile.deltas}</td>
                    </tr>
                  ))}
              </tbody>
            </table>
          </div>
          <p class="note">
            The server sends {bytes(plan.server_bytes)} once; the devices fetch {bytes(plan.device_bytes)} together
            {saved > 0 ? `, ${bytes(saved)} less than without differences` : ""}.
          </p>
        </>
      )}
      {left > 0 && (
        <details class="more">
          <summary data-testid="plan-left-out">{plural(left, "device is", "devices are")} left out</summary>
          <ul class="bullets note">
            {plan.left_out.slice(0, 20).map((each) => (
              <li key={each.device}>{each.reason}</li>
            ))}
            {left > 20 && <li>and {(left - 20).toLocaleString("en-US")} more</li>}
          </ul>
        </details>
      )}
    </section>
  );
}
