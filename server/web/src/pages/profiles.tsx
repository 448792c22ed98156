// All profiles, and some of them side by side.

import { useState } from "preact/hooks";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { ProfileDetail } from "../api/types";
import { plural } from "../text/format";
import { beginning, compared, mib, ORIGIN } from "../text/profile";
import { Dialog } from "../ui/dialog";
import { Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { Badge, Card, Empty, Loaded, Page } from "../ui/parts";
import { navigate, useQuery } from "../ui/route";
import { ProfileBars, ProfileTable } from "./profile_compare";
import { ProfileEditor } from "./profile_editor";

const MOST = 4; // side by side

export function ProfilesPage() {
  const profiles = useResource<ProfileDetail[]>("/profiles", { on: touches("profile") });
  const [making, setMaking] = useState(false);
  const may = useMay("operator");
  return (
    <Page
      title="Profiles"
      lead="What kinds of devices can do, every number with its source. Models are compressed for a profile."
      actions={
        may && (
          <button type="button" class="primary" disabled={!profiles.value} onClick={() => setMaking(true)} data-testid="profile-new">
            <Icon name="plus" />
            New profile
          </button>
        )
      }
    >
      <Loaded from={profiles} lines={10}>
        {(all) => <Chosen all={all} />}
      </Loaded>
      {making && profiles.value && <NewProfileDialog all={profiles.value} onClose={() => setMaking(false)} />}
    </Page>
  );
}

function Chosen({ all }: { all: readonly ProfileDetail[] }) {
  const [search, setSearch] = useQuery();
  const chosen = compared(search.get("compare"), all.map((profile) => profile.id), MOST);
  const shown = chosen.flatMap((id) => all.filter((profile) => profile.id === id));
  const toggle = (id: string) => {
    const next = chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id];
    setSearch({ compare: next.join(",") });
  };
  if (all.length === 0) {
    return (
      <Card>
        <Empty icon="profile" title="No profiles">
          This edgepress was installed without its profiles. Install it again.
        </Empty>
      </Card>
    );
  }
  return (
    <>
      <List all={all} chosen={chosen} toggle={toggle} />
      {shown.length === 0 ? (
        <Card>
          <Empty icon="profile" title="Nothing to compare">
            Tick up to {MOST} profiles to see them side by side.
          </Empty>
        </Card>
      ) : (
        <>
          <ProfileBars profiles={shown} />
          <ProfileTable profiles={shown} />
        </>
      )}
    </>
  );
}

interface ListProps {
  all: readonly ProfileDetail[];
  chosen: readonly string[];
  toggle: (id: string) => void;
}
function List({ all, chosen, toggle }: ListProps) {
  return (
    <Card flush title={plural(all.length, "profile")} note={`Tick up to ${MOST} to compare them.`}>
      <div class="table-box" tabIndex={0} role="region" aria-label="Profiles">
        <table class="profile-list">
          <thead>
            <tr>
              <th scope="col" class="tick">
                <span class="visually-hidden">Compare</span>
              </th>
              <th scope="col">Profile</th>
              <th scope="col">Origin</th>
              <th scope="col" class="num col-2">
                Threads
              </th>
              <th scope="col" class="num col-2">
                Memory
              </th>
              <th scope="col" class="col-2">
                int8
              </th>
              <th scope="col" class="col-3">
                Runs on
              </th>
            </tr>
          </thead>
          <tbody>
            {all.map((profile) => {
              const ticked = chosen.includes(profile.id);
              return (
                <tr key={profile.id} data-testid={`profile-row-${profile.id}`}>
                  <td class="tick">
                    <input
                      type="checkbox"
                      aria-label={`Compare ${profile.name}`}
                      checked={ticked}
                      disabled={!ticked && chosen.length >= MOST}
                      onChange={() => toggle(profile.id)}
                    />
                  </td>
                  <th scope="row">
                    <Link href={`/profiles/${profile.id}`}>{profile.name}</Link>
                    <span class="sub">{profile.id}</span>
                  </th>
                  <td>
                    <Badge word={ORIGIN[profile.origin]} />
                    {profile.origin === "own" && profile.inherits && <span class="sub">on {profile.inherits}</span>}
                  </td>
                  <td class="num col-2">{profile.cpu.threads}</td>
                  <td class="num col-2">{mib(profile.memory.ram_mib)}</td>
                  <td class="col-2">{profile.int8.activations ?? "no"}</td>
                  <td class="col-3">{profile.runtime.providers[0]?.replace("ExecutionProvider", "")}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

const ID = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

function NewProfileDialog({ all, onClose }: { all: readonly ProfileDetail[]; onClose: () => void }) {
  const [base, setBase] = useState(all[0]?.id ?? "");
  const [id, setId] = useState("");
  const [writing, setWriting] = useState(false);
  const taken = all.some((profile) => profile.id === id);
  const problem = id === "" ? null : !ID.test(id) ? "Lower-case letters, digits and hyphens." : taken ? "There is one of this id." : null;
  return (
    <Dialog title={writing ? id : "New profile"} onClose={onClose} wide={writing} testid="profile-dialog">
      {writing ? (
        <div class="dialog-body">
          <ProfileEditor id={id} text={beginning(id, id, base)} onCancel={onClose} onSaved={() => navigate(`/profiles/${id}`)} />
        </div>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (id !== "" && problem === null) setWriting(true);
          }}
        >
          <div class="dialog-body">
            <Field label="Stands on" hint="The new profile takes over what it does not state.">
              {(ids) => (
                <select {...ids} value={base} onChange={(event) => setBase(event.currentTarget.value)} data-testid="profile-base">
                  {all.map((profile) => (
                    <option key={profile.id} value={profile.id}>
                      {profile.name}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            <Field label="Id" hint="Such as raspberry-pi-4-2gb" problem={problem}>
              {(ids) => (
                <input {...ids} autocomplete="off" value={id} onInput={(event) => setId(event.currentTarget.value.trim())} data-testid="profile-id" />
              )}
            </Field>
          </div>
          <footer>
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="submit" class="primary" disabled={id === "" || problem !== null} data-testid="profile-begin">
              Go on
            </button>
          </footer>
        </form>
      )}
    </Dialog>
  );
}
