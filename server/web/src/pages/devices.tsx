import { useState } from "preact/hooks";
import { telemetryDevices, touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Change, Device, DeviceStatus, Profile } from "../api/types";
import { ago, celsius, plural } from "../text/format";
import { deviceWords } from "../text/words";
import { DeviceStatusBadge, latencyOf, memoryOf, Power, powerOf, Running, StepBadge } from "../ui/device_bits";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Page } from "../ui/parts";
import { DEVICE_TABS, Tabs } from "../ui/tabs";
import { BulkDialog } from "./bulk_dialog";
import { RegisterDialog } from "./register";
import { RevokeDialog } from "./revoke_dialog";

export const devicesChange = (change: Change) =>
  touches("device")(change) || telemetryDevices(change).length > 0 || change.kind === "artifact";

export function DevicesPage() {
  const devices = useResource<Device[]>("/devices", { on: devicesChange, everyMs: 1500 });
  const profiles = useResource<Profile[]>("/profiles");
  const [registering, setRegistering] = useState(false);
  const [search, setSearch] = useState("");
  const [status, setStatus] = useState<DeviceStatus | "">("");
  const [bulk, setBulk] = useState(false);
  const [rows, setRows] = useState(ROWS);
  const [chosen, setChosen] = useState<ReadonlySet<string> | null>(null); // null: not choosing
  const [revoking, setRevoking] = useState(false);
  const mayRegister = useMay("operator");
  const registerButton = mayRegister && (
    <button type="button" class="primary" onClick={() => setRegistering(true)} data-testid="register-open">
      <Icon name="plus" />
      Register a device
    </button>
  );

  const choose = (names: readonly string[], on: boolean) => {
    const next = new Set(chosen);
    for (const name of names) {
      if (on) next.add(name);
      else next.delete(name);
    }
    setChosen(next);
  };
  return (
    <Page
      title="Devices"
      lead="Every board, PC and phone this server compresses for."
      actions={
        mayRegister && (
          <>
            <button type="button" onClick={() => setBulk(true)} data-testid="bulk-open">
              <Icon name="upload" />
              From a file
            </button>
            {registerButton}
          </>
        )
      }
    >
      <Tabs label="Devices" tabs={DEVICE_TABS} here="/devices" />
      <Card flush>
        <Loaded from={devices} lines={6}>
          {(all) => {
            if (all.length === 0) {
              return (
                <Empty icon="device" title="No device yet" action={registerButton}>
                  Register the first one here, or with <code>edgepress device register NAME --profile P</code>. It
                  gets a code that the device trades for its credentials.
                </Empty>
              );
            }
            const shown = all.filter((device) => matches(device, search) && (!status || device.status === status));
            return (
              <>
                <div class="card-head filters" role="search">
                  <input
                    type="search"
                    placeholder="Name, profile, label or model"
                    aria-label="Search devices"
                    value={search}
                    onInput={(event) => setSearch(event.currentTarget.value)}
                    data-testid="device-search"
                  />
                  <select
                    aria-label="Status"
                    value={status}
                    onChange={(event) => setStatus(event.currentTarget.value as DeviceStatus | "")}
                  >
                    <option value="">Every status</option>
                    {(Object.keys(deviceWords) as DeviceStatus[]).map((each) => (
                      <option key={each} value={each}>
                        {deviceWords[each].text}
                      </option>
                    ))}
                  </select>
                  <span class="row apart whole-phone">
                    <span class="note" role="status">
                      {shown.length === all.length ? plural(all.length, "device") : `${shown.length} of ${plural(all.length, "device")}`}
                    </span>
                    {mayRegister && (
                      <button
                        type="button"
                        class="small"
                        aria-pressed={chosen !== null}
                        onClick={() => setChosen(chosen ? null : new Set())}
                        data-testid="devices-choose"
                      >
                        {chosen ? "Choose none" : "Choose"}
                      </button>
                    )}
                  </span>
                </div>
                {chosen && (
                  <div class="table-foot chosen-bar">
                    <span role="status">{plural(chosen.size, "device")} chosen</span>
                    <button
                      type="button"
                      class="small"
                      onClick={() => choose(shown.filter(revocable).map((device) => device.name), true)}
                      data-testid="devices-choose-all"
                    >
                      All {shown.filter(revocable).length} shown
                    </button>
                    <button
                      type="button"
                      class="small danger"
                      disabled={chosen.size === 0}
                      onClick={() => setRevoking(true)}
                      data-testid="devices-revoke"
                    >
                      Revoke
                    </button>
                  </div>
                )}
                {shown.length === 0 ? (
                  <Empty icon="device" title="No device matches">
                    Try another word or another status.
                  </Empty>
                ) : (
                  <DeviceTable
                    devices={shown.slice(0, rows)}
                    profiles={profiles.value ?? []}
                    {...(chosen ? { chosen, onChoose: choose } : {})}
                  />
                )}
                {shown.length > rows && (
                  <footer class="table-foot">
                    <button type="button" onClick={() => setRows(rows + ROWS)} data-testid="devices-more">
                      Show {Math.min(ROWS, shown.length - rows)} more of {(shown.length - rows).toLocaleString("en-US")}
                    </button>
                  </footer>
                )}
              </>
            );
          }}
        </Loaded>
      </Card>
      {bulk && <BulkDialog onClose={() => setBulk(false)} />}
      {revoking && chosen && (
        <RevokeDialog names={[...chosen]} onClose={() => setRevoking(false)} done={() => setChosen(null)} />
      )}
      {registering && <RegisterDialog profiles={profiles} onClose={() => setRegistering(false)} />}
    </Page>
  );
}

/** State messages are rare while nothing changes; of an online device the newest sample says more. */
export function lastSeen(device: Device): number | null {
  const sampled = device.status === "online" ? (device.latest?.at_ms ?? 0) : 0;
  return Math.max(device.seen_at ?? 0, sampled) || null;
}

function matches(device: Device, search: string): boolean {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const labels = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`);
  const text = [device.name, device.profile, device.running?.model ?? "", ...labels].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

const ROWS = 200; // drawn at first: ten thousand rows would make every keystroke wait
const revocable = (device: Device) => device.status !== "revoked";

interface TableProps {
  devices: readonly Device[];
  chosen?: ReadonlySet<string>;
  onChoose?: (names: readonly string[], on: boolean) => void;
  profiles: readonly Profile[];
  spark?: (name: string) => preact.ComponentChildren;
}
export function DeviceTable({ devices, profiles, spark, chosen, onChoose }: TableProps) {
  const now = useNow();
  const profileName = (id: string) => profiles.find((profile) => profile.id === id)?.name ?? id;
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Devices">
      <table class="stacking">
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col">Status</th>
            <th scope="col" class="col-2">
              Runs
            </th>
            <th scope="col" class={spark ? "" : "num"}>
              p95 latency
            </th>
            <th scope="col" class="num col-2">
              Memory
            </th>
            <th scope="col" class="num col-2">
              Power
            </th>
            <th scope="col" class="num col-3">
              Temp
            </th>
            <th scope="col" class="num col-3">
              Seen
            </th>
          </tr>
        </thead>
        <tbody>
          {devices.map((device) => {
            const live = device.status === "online" ? device.latest : null; // old figures are no present ones
            return (
              <tr key={device.name} data-testid={`device-row-${device.name}`}>
                <th scope="row">
                  <span class="with-check">
                    {chosen && onChoose && (
                      <input
                        type="checkbox"
                        aria-label={`Choose ${device.name}`}
                        disabled={!revocable(device)}
                        checked={chosen.has(device.name)}
                        onChange={(event) => onChoose([device.name], event.currentTarget.checked)}
                        data-testid={`device-choose-${device.name}`}
                      />
                    )}
                    <span>
                      <Link href={`/devices/${device.name}`}>{device.name}</Link>
                      <span class="sub">{profileName(device.profile)}</span>
                    </span>
                  </span>
                </th>
                <td>
                  <span class="row tight">
                    <DeviceStatusBadge device={device} testid="device-status" />
                    <StepBadge device={device} />
                    {device.cloned_at !== null && <Badge word={{ text: "cloned", tone: "warn" }} />}
                  </span>
                </td>
                <td class="col-2">
                  <Running device={device} />
                </td>
                <td class={spark ? "grow-phone" : "num grow-phone"}>
                  <span class="phone sub">
                    {device.running ? (device.running.model ?? "unknown model") : "no model"}
                    {live && `: p95 ${latencyOf(live, "p95_us")}, ${memoryOf(live)}, ${powerOf(live)}`}
                  </span>
                  <span class="with-spark col-2">
                    {spark && <span class="spark-box col-3">{live && spark(device.name)}</span>}
                    <span class="num">{latencyOf(live, "p95_us")}</span>
                  </span>
                </td>
                <td class="num col-2">{memoryOf(live)}</td>
                <td class="num col-2">
                  <Power sample={live} />
                </td>
                <td class="num col-3">{celsius(live?.temp_c)}</td>
                <td class="num col-3">{ago(lastSeen(device), now)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
