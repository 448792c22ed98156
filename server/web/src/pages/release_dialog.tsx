// Put one artifact of a search on devices of its profile.

import { useState } from "preact/hooks";
import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Search, Trial } from "../api/searches";
import type { Device, Push } from "../api/types";
import { plural } from "../text/format";
import { reachable } from "../text/targets";
import { deviceWords } from "../text/words";
import { Dialog, useAction } from "../ui/dialog";
import { Link } from "../ui/link";
import { Failure, Notice, Skeleton } from "../ui/parts";
import { navigate } from "../ui/route";
import { FIRST_POLICY, readPolicy } from "../text/policy";
import { PolicyFields } from "./push_policy";

interface Props {
  search: Search;
  trial: Trial;
  digest: string;
  onClose: () => void;
}

export function ReleaseDialog({ search, trial, digest, onClose }: Props) {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 2000 });
  const [without, setWithout] = useState<ReadonlySet<string>>(new Set());
  const [policy, setPolicy] = useState(FIRST_POLICY);
  const able = reachable(devices.value ?? []).filter((device) => device.profile === search.profile);
  const names = able.map((device) => device.name).filter((name) => !without.has(name));
  const action = useAction(async () => {
    const made = await post<Push>("/push", { model: search.model, artifact: digest, devices: names, policy: readPolicy(policy) });
    onClose();
    navigate(`/push/${made.id}`);
  });
  const toggle = (name: string) => {
    const next = new Set(without);
    if (!next.delete(name)) next.add(name);
    setWithout(next);
  };
  return (
    <Dialog title={`Release trial ${trial.number} of ${search.model}`} onClose={onClose} testid="release-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (names.length > 0) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {devices.error && <Failure error={devices.error} retry={devices.reload} />}
          <p>
            {trial.title}. {trial.within === false && "It misses the search's budget."}
          </p>
          <fieldset>
            <legend class="legend-line">Devices of {search.profile}</legend>
            {devices.value === undefined ? (
              !devices.error && <Skeleton lines={2} />
            ) : able.length === 0 ? (
              <Notice tone="warn">
                <p>
                  No enrolled device has this profile. <Link href="/devices">Register and enrol one</Link> first.
                </p>
              </Notice>
            ) : (
              <ul class="targets">
                {able.map((device) => (
                  <li key={device.name}>
                    <label class="check line">
                      <input
                        type="checkbox"
                        checked={!without.has(device.name)}
                        onChange={() => toggle(device.name)}
                        data-testid={`release-device-${device.name}`}
                      />
                      {device.name}
                      <small>
                        {deviceWords[device.status].text}
                        {device.running?.model ? `, runs ${device.running.model} (${device.running.recipe})` : ""}
                      </small>
                    </label>
                  </li>
                ))}
              </ul>
            )}
          </fieldset>
          <PolicyFields policy={policy} onChange={setPolicy} />
        </div>
        <footer>
          <span class="footer-note" role="status">
            {plural(names.length, "device")}
          </span>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={action.busy || names.length === 0 || typeof readPolicy(policy) === "string"} data-testid="release-submit">
            {action.busy ? "Starting" : "Release and roll out"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
