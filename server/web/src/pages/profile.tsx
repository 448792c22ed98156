// One profile: its sections, one component each.

import { useState } from "preact/hooks";
import { at, del } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Device, ProfileDetail } from "../api/types";
import { ago, plural } from "../text/format";
import { beginning, ORIGIN } from "../text/profile";
import { Confirm } from "../ui/dialog";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, CopyButton, Fact, Loaded, Notice, Page } from "../ui/parts";
import { navigate } from "../ui/route";
import { ProfileCalibration } from "./profile_calibration";
import { ProfileEditor } from "./profile_editor";
import { ProfileFigures } from "./profile_figures";

export function ProfilePage({ id }: { id: string }) {
  const profile = useResource<ProfileDetail>(`/profiles/${at(id)}`, { on: touches("profile") });
  return (
    <Page title={profile.value?.name ?? id} above={<Link href="/profiles">Profiles</Link>} lead={profile.value?.notes || undefined}>
      <Loaded from={profile} lines={8}>
        {(value) => (
          <>
            <ProfileFacts profile={value} />
            <ProfileText key={value.updated_at} profile={value} reload={profile.reload} />
            <ProfileCalibration profile={value} />
            <ProfileFigures profile={value} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function ProfileFacts({ profile }: { profile: ProfileDetail }) {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 5000 });
  const now = useNow(30_000);
  const users = (devices.value ?? []).filter((device) => device.profile === profile.id && device.status !== "revoked");
  return (
    <Card>
      <dl class="facts">
        <Fact name="Id">
          <code>{profile.id}</code>
        </Fact>
        <Fact name="Kind">{profile.kind}</Fact>
        <Fact name="Origin" testid="profile-origin">
          <Badge word={ORIGIN[profile.origin]} />
        </Fact>
        {profile.inherits && (
          <Fact name="Stands on">
            {profile.inherits === profile.id ? "the shipped profile of this id" : <Link href={`/profiles/${profile.inherits}`}>{profile.inherits}</Link>}
          </Fact>
        )}
        {profile.updated_at !== null && <Fact name="Changed">{ago(profile.updated_at, now)}</Fact>}
        <Fact name="Devices">
          {devices.value === undefined ? (
            "–"
          ) : users.length === 0 ? (
            "none"
          ) : (
            <Link href={`/devices?search=${at(profile.id)}`}>{plural(users.length, "device")}</Link>
          )}
        </Fact>
      </dl>
    </Card>
  );
}

/** The text of an own profile or an override; for operators, the way to change it. */
function ProfileText({ profile, reload }: { profile: ProfileDetail; reload: () => void }) {
  const [editing, setEditing] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const may = useMay("operator");
  const shipped = profile.origin === "shipped";
  if (shipped && !editing) {
    if (!may) return null;
    return (
      <Notice tone="idle">
        <div class="row apart">
          <p>These figures ship with edgepress. Where your devices differ, override some of them for this installation.</p>
          <button type="button" class="small" onClick={() => setEditing(true)} data-testid="profile-override">
            Override
          </button>
        </div>
      </Notice>
    );
  }
  const text = shipped ? beginning(profile.id, profile.name, profile.id) : (profile.toml ?? "");
  const title = profile.origin === "own" ? "As written" : "Override of the shipped profile";
  return (
    <Card
      title={title}
      note="What is not stated here is taken over from the profile that it stands on."
      testid="profile-text"
      actions={
        !editing && (
          <>
            <CopyButton text={text} label="Copy" />
            {may && (
              <>
                <button type="button" class="small" onClick={() => setEditing(true)} data-testid="profile-edit">
                  Edit
                </button>
                <button type="button" class="small danger" onClick={() => setDeleting(true)} data-testid="profile-delete">
                  {profile.origin === "override" ? "End the override" : "Delete"}
                </button>
              </>
            )}
          </>
        )
      }
    >
      {editing ? (
        <ProfileEditor
          id={profile.id}
          text={text}
          onCancel={() => setEditing(false)}
          onSaved={() => {
            setEditing(false);
            reload();
          }}
        />
      ) : (
        <pre class="toml">{text}</pre>
      )}
      {deleting && (
        <Confirm
          title={profile.origin === "override" ? `End the override of ${profile.id}?` : `Delete ${profile.id}?`}
          verb={profile.origin === "override" ? "End it" : "Delete"}
          onClose={() => setDeleting(false)}
          act={async () => {
            await del(`/profiles/${at(profile.id)}`);
            if (profile.origin === "override") reload();
            else navigate("/profiles");
          }}
          testid="profile-delete-confirm"
        >
          <p>
            {profile.origin === "override"
              ? "The shipped figures hold again from the next job on."
              : "It cannot be brought back. A profile that devices, artifacts or jobs use stays."}
          </p>
        </Confirm>
      )}
    </Card>
  );
}
