// Devices as rows: on a phone each becomes a block.

import type { DeviceRow } from "../api/devices_page";
import { ago, celsius, micros, bytes, percent, watts } from "../text/format";
import { nextSort, sortedBy } from "../text/devices_address";
import { deviceWords, method, stepWords } from "../text/words";
import { runningParts } from "../ui/device_bits";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge } from "../ui/parts";

const NOTEWORTHY = new Set(["fetching", "verified", "staged", "trial", "rejected", "failed", "rolled_back"]);
export const revocable = (device: { status: string }) => device.status !== "revoked";

/** State messages are rare while nothing changes; of an online device the newest sample says more. */
export function lastSeen(device: DeviceRow): number | null {
  const sampled = device.status === "online" ? (device.at_ms ?? 0) : 0;
  return Math.max(device.seen_at ?? 0, sampled) || null;
}

interface Column {
  key: string; // by which it is sorted
  title: string;
  class: string;
  down: boolean; // the highest first is what one wants to see
}
const COLUMNS: readonly Column[] = [
  { key: "name", title: "Device", class: "", down: false },
  { key: "status", title: "Status", class: "", down: false },
  { key: "model", title: "Runs", class: "col-2", down: false },
  { key: "p95_us", title: "p95 latency", class: "num", down: true },
  { key: "rss_bytes", title: "Memory", class: "num col-2", down: true },
  { key: "cpu_percent", title: "CPU", class: "num col-3", down: true },
  { key: "power_mw", title: "Power", class: "num col-2", down: true },
  { key: "temp_c", title: "Temp", class: "num col-3", down: true },
  { key: "seen_at", title: "Seen", class: "num col-3", down: false },
];

interface TableProps {
  devices: readonly DeviceRow[];
  profileName: (id: string) => string;
  chosen?: ReadonlySet<string>;
  onChoose?: (names: readonly string[], on: boolean) => void;
  sort?: string;
  onSort?: (sort: string) => void;
}
export function DeviceTable({ devices, profileName, chosen, onChoose, sort, onSort }: TableProps) {
  const now = useNow();
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Devices">
      <table class="stacking devices-table">
        <thead>
          <tr>
            {COLUMNS.map((column) => (
              <th
                key={column.key}
                scope="col"
                class={column.class}
                aria-sort={sort === undefined ? undefined : (sortedBy(sort, column.key) ?? "none")}
              >
                {sort !== undefined && onSort ? (
                  <button type="button" class="sort" onClick={() => onSort(nextSort(sort, column.key, column.down))}>
                    {column.title}
                    <span class="sort-arrow" aria-hidden="true">
                      {{ ascending: "▲", descending: "▼", none: "" }[sortedBy(sort, column.key) ?? "none"]}
                    </span>
                  </button>
                ) : (
                  column.title
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {devices.map((device) => (
            <Row key={device.name} {...{ device, now, profileName, chosen, onChoose }} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

type RowProps = Pick<TableProps, "profileName"> & {
  device: DeviceRow;
  now: number;
  chosen: TableProps["chosen"];
  onChoose: TableProps["onChoose"];
};
function Row({ device, now, profileName, chosen, onChoose }: RowProps) {
  const live = device.status === "online" ? device : null; // old figures are no present ones
  const p95 = live ? micros(live.p95_us) : "–";
  const estimate = method(live?.power_method)?.word === "estimate";
  const power = live ? (estimate && live.power_mw !== null ? "≈ " : "") + watts(live.power_mw) : "–";
  const { title, href, sub } = runningParts(device.running);
  return (
    <tr data-testid={`device-row-${device.name}`}>
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
            <Link href={`/devices/${encodeURIComponent(device.name)}`}>{device.name}</Link>
            <span class="sub">{profileName(device.profile)}</span>
          </span>
        </span>
      </th>
      <td>
        <span class="row tight">
          <Badge word={deviceWords[device.status]} testid="device-status" />
          {NOTEWORTHY.has(device.step) && device.status !== "revoked" && <Badge word={stepWords[device.step]} />}
          {device.cloned_at ? <Badge word={{ text: "cloned", tone: "warn" }} /> : null}
          {live?.throttled ? <Badge word={{ text: "throttled", tone: "warn" }} /> : null}
        </span>
      </td>
      <td class="col-2">
        {href ? <Link href={href}>{title}</Link> : <span class="sub">{title}</span>}
        {sub && <span class="sub">{sub}</span>}
      </td>
      <td class="num grow-phone">
        <span class="phone sub">
          {title}
          {live && `: p95 ${p95}, ${bytes(live.rss_bytes)}, ${power}`}
          {live?.temp_c != null && `, ${celsius(live.temp_c)}`}
          {!live && ` · ${device.seen_at === null ? "never seen" : ago(lastSeen(device), now)}`}
        </span>
        <span class="col-2">
          {p95}
          {live && (live.errors ?? 0) > 0 && <em class="told bad sub">{live.errors!.toLocaleString("en-US")} failed</em>}
        </span>
      </td>
      <td class="num col-2">{live ? bytes(live.rss_bytes) : "–"}</td>
      <td class="num col-3">{live ? percent(live.cpu_percent) : "–"}</td>
      <td class="num col-2">{power}</td>
      <td class="num col-3">{live ? celsius(live.temp_c) : "–"}</td>
      <td class="num col-3">{ago(lastSeen(device), now)}</td>
    </tr>
  );
}
