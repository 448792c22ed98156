// What runs where: artifacts and agents, by the number of devices.

import type { Overview } from "../api/overview";
import { digest, micros, part, plural } from "../text/format";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";

const SHOWN = 8;

export function Running({ fleet }: { fleet: Overview }) {
  const { running, agents, devices } = fleet;
  const shown = running.slice(0, SHOWN);
  const rest = running.length - shown.length + fleet.running_left_out;
  const most = Math.max(1, ...shown.map((each) => each.devices));
  const idle = devices.total - running.reduce((sum, each) => sum + each.devices, 0);
  return (
    <Card title="What runs" note={running.length === 0 ? undefined : "Devices, and the p95 of the model there"} testid="running">
      {running.length === 0 ? (
        <p class="quiet">
          No device runs a model yet. <Link href="/models">Push one</Link> to them.
        </p>
      ) : (
        <ul class="shares">
          {shown.map((each) => (
            <li key={each.digest}>
              <span class="share-name">
                {each.model ? (
                  <Link href={`/models/${encodeURIComponent(each.model)}?artifact=${each.digest}`}>{each.model}</Link>
                ) : (
                  <code>{digest(each.digest)}</code>
                )}
                <span class="sub">
                  {[each.recipe, each.release === null ? null : `release ${each.release}`].filter(Boolean).join(" · ")}
                </span>
              </span>
              <Share part={each.devices} of={most} dim={each.online} />
              <span class="share-figures">
                <b>{each.devices.toLocaleString("en-US")}</b>
                <span class="sub">
                  {micros(each.p95_us)}
                  {each.error_ratio !== null && each.error_ratio > 0 && <em class="told bad sub">{part(each.error_ratio)} fail</em>}
                </span>
              </span>
            </li>
          ))}
        </ul>
      )}
      {rest > 0 && <p class="note">{plural(rest, "more artifact")}</p>}
      {running.length > 0 && idle > 0 && fleet.running_left_out === 0 && <p class="note">{plural(idle, "device")} without a model</p>}
      <h3>Agents</h3>
      {agents.length === 0 ? (
        <p class="quiet">No agent has reported its version.</p>
      ) : (
        <ul class="shares agents">
          {agents.map((each) => (
            <li key={each.version}>
              <span class="share-name">{each.version}</span>
              <Share part={each.devices} of={Math.max(1, ...agents.map((agent) => agent.devices))} dim={each.online} />
              <span class="share-figures">
                <b>{each.devices.toLocaleString("en-US")}</b>
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

/** How many, and how many of them are online: the darker part. */
function Share({ part: value, of, dim }: { part: number; of: number; dim: number }) {
  return (
    <span class="share-track" title={`${dim.toLocaleString("en-US")} of them online`} aria-hidden="true">
      <i class="share-all" style={{ width: `${(100 * value) / of}%` }} />
      <i class="share-online" style={{ width: `${(100 * dim) / of}%` }} />
    </span>
  );
}
