// The devices of a rollout, a page at a time: as fast with ten thousand as with ten.

import { useEffect, useState } from "preact/hooks";
import { query } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Rollout, RolloutDevice, RolloutDevicePage } from "../api/rollouts";
import { ago, plural } from "../text/format";
import { DEVICE_STATES, rolloutDeviceSaying, rolloutDeviceWord, rolloutDeviceWords, rolloutTotal } from "../text/rollout";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Meter } from "../ui/parts";
import { useQuery } from "../ui/route";
import { RolloutText } from "./rollout_log";

const ROWS = 50;

export function RolloutDevices({ rollout }: { rollout: Rollout }) {
  const [address, setAddress] = useQuery();
  const state = DEVICE_STATES.find((each) => each === address.get("state")) ?? null;
  const search = address.get("device") ?? "";
  const [offset, setOffset] = useState(0);
  useEffect(() => setOffset(0), [state, search]);
  const path = `/rollouts/${encodeURIComponent(rollout.id)}/devices` + query({ state, search, offset, limit: ROWS });
  // Progress of downloads comes as events of devices; a large fleet sends many of them a second.
  const page = useResource<RolloutDevicePage>(path, {
    on: (change) => touches("rollout", rollout.id)(change) || change.kind === "device",
    everyMs: rolloutTotal(rollout) > 200 ? 1500 : 500,
  });
  return (
    <Card flush title="Devices">
      <div class="card-head filters" role="search">
        <input
          type="search"
          placeholder="Part of a name"
          aria-label="Search devices of this rollout"
          value={search}
          onInput={(event) => setAddress({ device: event.currentTarget.value.trim() || null })}
          data-testid="rollout-device-search"
        />
        <select
          aria-label="State"
          value={state ?? ""}
          onChange={(event) => setAddress({ state: event.currentTarget.value || null })}
          data-testid="rollout-device-state"
        >
          <option value="">Every state</option>
          {DEVICE_STATES.map((each) => (
            <option key={each} value={each}>
              {rolloutDeviceWords[each].text} ({rollout.counts[each] ?? 0})
            </option>
          ))}
        </select>
        <span class="note" role="status">
          {page.value && plural(page.value.total, "device")}
        </span>
      </div>
      <Loaded from={page} lines={5}>
        {({ devices, total }) =>
          devices.length === 0 ? (
            <Empty icon="device" title={state || search ? "No device matches" : "No device is part of it"}>
              {state || search ? "Try another state or another part of a name." : "Nothing fits its target yet."}
            </Empty>
          ) : (
            <>
              <DeviceRows devices={devices} />
              {total > ROWS && <Pager offset={offset} total={total} onMove={setOffset} />}
            </>
          )
        }
      </Loaded>
    </Card>
  );
}

function Pager({ offset, total, onMove }: { offset: number; total: number; onMove: (offset: number) => void }) {
  const last = Math.min(total, offset + ROWS);
  return (
    <footer class="table-foot">
      <button type="button" class="small" disabled={offset === 0} onClick={() => onMove(Math.max(0, offset - ROWS))} data-testid="rollout-devices-previous">
        Previous
      </button>
      <span class="note" role="status">
        {(offset + 1).toLocaleString("en-US")} to {last.toLocaleString("en-US")} of {total.toLocaleString("en-US")}
      </span>
      <button type="button" class="small" disabled={last >= total} onClick={() => onMove(offset + ROWS)} data-testid="rollout-devices-next">
        Next
      </button>
    </footer>
  );
}

function DeviceRows({ devices }: { devices: readonly RolloutDevice[] }) {
  const now = useNow();
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Devices of this rollout">
      <table class="stacking">
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col">State</th>
            <th scope="col">What happens</th>
            <th scope="col" class="col-2">
              Stage
            </th>
            <th scope="col" class="num col-2">
              Changed
            </th>
          </tr>
        </thead>
        <tbody>
          {devices.map((device) => (
            <tr key={device.device} data-testid={`rollout-device-${device.device}`}>
              <th scope="row">
                <Link href={`/devices/${device.device}`}>{device.device}</Link>
                <span class="sub">
                  {device.profile}
                  {!device.online && ", offline"}
                </span>
              </th>
              <td>
                <Badge word={rolloutDeviceWord(device)} />
              </td>
              <td class="grow wide">
                <RolloutText text={rolloutDeviceSaying(device)} />
                {device.state === "fetching" && device.chunks_total ? (
                  <Meter
                    value={(device.chunks_have ?? 0) / device.chunks_total}
                    label={`Chunks that ${device.device} has`}
                  />
                ) : null}
              </td>
              <td class="col-2">{device.wave === 0 ? "canary" : `wave ${device.wave}`}</td>
              <td class="num col-2">{ago(device.updated_at, now)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
