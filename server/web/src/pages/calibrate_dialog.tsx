// Asks devices of a profile to measure themselves.

import { useState } from "preact/hooks";
import { at, post } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Device } from "../api/types";
import { deviceWords } from "../text/words";
import { Dialog, useAction } from "../ui/dialog";
import { Choice } from "../ui/field";
import { Failure, Loaded } from "../ui/parts";

const SECONDS = [
  ["30", "30 s"],
  ["60", "1 min"],
  ["180", "3 min"],
  ["600", "10 min"],
] as const;
export type Seconds = (typeof SECONDS)[number][0];

export function CalibrateDialog({ profile, onClose, onAsked }: { profile: string; onClose: () => void; onAsked: () => void }) {
  const devices = useResource<Device[]>("/devices", { on: touches("device") });
  const [ticked, setTicked] = useState<ReadonlySet<string> | null>(null); // null: as suggested
  const [seconds, setSeconds] = useState<Seconds>("60");
  const mine = (devices.value ?? []).filter((device) => device.profile === profile && (device.status === "online" || device.status === "offline"));
  const chosen = ticked ?? new Set(mine.filter((device) => device.status === "online").slice(0, 3).map((device) => device.name));
  const ask = useAction(async () => {
    for (const name of chosen) await post(`/devices/${at(name)}/profiling`, { what: "device", seconds: Number(seconds) });
  }, onAsked);
  const toggle = (name: string) => {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setTicked(next);
  };
  return (
    <Dialog title="Calibrate on …" onClose={onClose} testid="calibrate-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (chosen.size > 0) ask.run();
        }}
      >
        <div class="dialog-body">
          {ask.error && <Failure error={ask.error} />}
          <p class="note">
            The devices run small nets beside their work; what they answer meanwhile may take longer. Three devices or more
            tell which one lies.
          </p>
          <Loaded from={devices}>
            {() =>
              mine.length === 0 ? (
                <p data-testid="calibrate-nobody">No device of this profile is enrolled. Register one first.</p>
              ) : (
                <ul class="targets">
                  {mine.map((device) => (
                    <li key={device.name}>
                      <label class="check">
                        <input type="checkbox" checked={chosen.has(device.name)} onChange={() => toggle(device.name)} data-testid={`calibrate-device-${device.name}`} />
                        {device.name}
                        <small>{deviceWords[device.status].text}</small>
                      </label>
                    </li>
                  ))}
                </ul>
              )
            }
          </Loaded>
          <Choice label="Measure for" value={seconds} options={SECONDS} onChange={setSeconds} />
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={ask.busy || chosen.size === 0} data-testid="calibrate-submit">
            Calibrate
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
