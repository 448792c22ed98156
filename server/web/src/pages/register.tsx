import { useState } from "preact/hooks";
import { post } from "../api/client";
import type { Resource } from "../api/resource";
import { touches, useResource } from "../api/resource";
import type { Device, Profile, Registration } from "../api/types";
import { until } from "../text/format";
import { deviceNameProblem, parseLabels } from "../text/names";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { useNow } from "../ui/now";
import { CopyButton, Failure, Notice } from "../ui/parts";

export function RegisterDialog({ profiles, onClose }: { profiles: Resource<Profile[]>; onClose: () => void }) {
  const [name, setName] = useState("");
  const [profile, setProfile] = useState("");
  const [labelText, setLabelText] = useState("");
  const [touched, setTouched] = useState(false);
  const [made, setMade] = useState<Registration | null>(null);
  const labels = parseLabels(labelText);
  const problem = deviceNameProblem(name);
  const chosen = profile || profiles.value?.[0]?.id || "";
  const action = useAction(async () => {
    setMade(await post<Registration>("/devices", { name, profile: chosen, labels }));
  });

  if (made) {
    return (
      <Dialog title={`Enrol ${made.device.name}`} onClose={onClose} testid="enrol-dialog">
        <EnrolCode registration={made} />
        <footer>
          <button type="button" class="primary" onClick={onClose} data-testid="enrol-done">
            Done
          </button>
        </footer>
      </Dialog>
    );
  }
  return (
    <Dialog title="Register a device" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setTouched(true);
          if (!problem && typeof labels !== "string" && chosen) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {profiles.error && <Failure error={profiles.error} retry={profiles.reload} />}
          <Field label="Name" problem={touched || name !== "" ? problem : null} hint="For example kitchen-pi; it stays its name.">
            {(ids) => (
              <input
                {...ids}
                autofocus
                autocomplete="off"
                autocapitalize="none"
                spellcheck={false}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
                data-testid="register-name"
              />
            )}
          </Field>
          <Field label="Profile" hint="What the device is: models are compressed for it.">
            {(ids) => (
              <select
                {...ids}
                value={chosen}
                onChange={(event) => setProfile(event.currentTarget.value)}
                data-testid="register-profile"
              >
                {(profiles.value ?? []).map((each) => (
                  <option key={each.id} value={each.id}>
                    {each.name}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Field
            label="Labels (may stay empty)"
            hint="key=value, with commas between: site=lab, rack=3"
            problem={typeof labels === "string" ? labels : null}
          >
            {(ids) => (
              <input
                {...ids}
                autocomplete="off"
                value={labelText}
                onInput={(event) => setLabelText(event.currentTarget.value)}
                data-testid="register-labels"
              />
            )}
          </Field>
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={action.busy} data-testid="register-submit">
            {action.busy ? "Registering" : "Register"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** The code, its QR and the command; says by itself when the device has come. */
export function EnrolCode({ registration }: { registration: Registration }) {
  const { code, enrol_url, expires_at, qr_svg } = registration;
  const name = registration.device.name;
  const now = useNow(1000);
  const device = useResource<Device>(`/devices/${name}`, { on: touches("device", name) });
  const came = (device.value?.enrolled_at ?? 0) > (registration.device.enrolled_at ?? 0);
  const command = `edgepress-agent enroll '${enrol_url}'`;
  return (
    <div class="dialog-body">
      {came ? (
        <Notice tone="good" testid="enrol-came">
          <p>{name} has enrolled. Start it there with `edgepress-agent run` if it does not run yet.</p>
        </Notice>
      ) : (
        <p>Run this on the device, or scan the code with it. The code works once.</p>
      )}
      <div class="enrol">
        {qr_svg && <img src={"data:image/svg+xml;utf8," + encodeURIComponent(qr_svg)} alt="QR code of the enrolment address" />}
        <div class="stack">
          <div class="secret">
            <code data-testid="enrol-command">{command}</code>
            <CopyButton text={command} label="Copy" />
          </div>
          <div>
            <span class="sub">Code, to type by hand with --server</span>
            <span class="code-big" data-testid="enrol-code">
              {code}
            </span>
          </div>
          <p class={expires_at <= now ? "problem" : "hint"}>
            {expires_at <= now
              ? "This code has expired. Ask for a new one on the device's page."
              : `Expires ${until(expires_at, now)}. It is shown only here, and only now.`}
          </p>
        </div>
      </div>
    </div>
  );
}
