// The fleet in figures: each beside its last hour and against its last 24 hours.

import type { ComponentChildren } from "preact";
import type { Overview } from "../api/overview";
import { Trend } from "../plot/trend";
import { change } from "../text/change";
import { bytes, celsius, count, micros, part, percent, perSecond, plural, watts } from "../text/format";
import { Link } from "../ui/link";

interface TileProps {
  title: string;
  class?: string;
  children: ComponentChildren;
  aside: ComponentChildren;
  values?: readonly (number | null)[] | undefined;
  says?: string;
}
function Tile({ title, class: extra, children, aside, values, says }: TileProps) {
  return (
    <div class={`tile ${extra ?? ""}`}>
      <dt>{title}</dt>
      {children}
      <dd class="aside">{aside}</dd>
      {values && (
        <dd class="trend-box">
          <Trend values={values} label={`${title}, last hour${says ? `: ${says}` : ""}`} />
        </dd>
      )}
    </div>
  );
}

export function Tiles({ fleet }: { fleet: Overview }) {
  const { now, usual, sparklines } = fleet;
  const line = (name: string) => sparklines.series[name];
  return (
    <dl class="tiles fleet">
      <Online devices={fleet.devices} />
      <Tile
        title="Latency of one inference"
        class="double"
        aside={<Against now={now.p95_us} usual={usual.p95_us} more="worse" what="p95" />}
        values={line("p95_us")}
        says={`p95 ${micros(now.p95_us)}`}
      >
        <dd class="trio">
          {(["p50_us", "p95_us", "p99_us"] as const).map((key) => (
            <div key={key}>
              <span>{key.slice(0, 3)}</span>
              <b class="figure" data-testid={`fleet-latency-${key.slice(0, 3)}`}>
                {micros(now[key])}
              </b>
            </div>
          ))}
        </dd>
      </Tile>
      <Tile title="Inferences" aside={<Against now={now.inferences_per_s} usual={usual.inferences_per_s} more="better" />} values={line("inferences_per_s")}>
        <Figure testid="fleet-inferences">{now.inferences_per_s !== null && now.inferences_per_s >= 10_000 ? `${count(now.inferences_per_s)}/s` : perSecond(now.inferences_per_s)}</Figure>
      </Tile>
      <Tile title="Errors" aside={<ErrorsAside fleet={fleet} />} values={line("error_ratio")}>
        <Figure testid="fleet-errors" tone={now.error_ratio !== null && now.error_ratio >= 0.01 ? "bad" : undefined}>
          {part(now.error_ratio)}
        </Figure>
      </Tile>
      <Tile
        title="Memory of an agent"
        aside={
          <>
            <Against now={now.rss_bytes} usual={usual.rss_bytes} more="worse" />
            {now.mem_ratio !== null && <span>{`, boards ${part(now.mem_ratio)} full`}</span>}
          </>
        }
        values={line("rss_bytes")}
      >
        <Figure testid="fleet-memory">{bytes(now.rss_bytes)}</Figure>
      </Tile>
      <Tile title="CPU · temperature" aside={<Heat fleet={fleet} />} values={line("temp_c")}>
        <Figure testid="fleet-cpu">
          {percent(now.cpu_percent)} <small>{celsius(now.temp_c)}</small>
        </Figure>
      </Tile>
      <Tile title="Power" aside={<PowerAside fleet={fleet} />} values={now.power_devices > 0 ? line("power_mw") : []}>
        <Figure testid="fleet-power">
          {now.power_estimated > 0 ? "≈ " : ""}
          {watts(now.power_mw)}
        </Figure>
      </Tile>
    </dl>
  );
}

function Figure({ children, testid, tone }: { children: ComponentChildren; testid: string; tone?: string | undefined }) {
  return (
    <dd class={`figure ${tone ? `told ${tone}` : ""}`} data-testid={testid}>
      {children}
    </dd>
  );
}

/** The three states of a device as one bar, and in words. */
function Online({ devices }: { devices: Overview["devices"] }) {
  const { total, online, offline, registered } = devices;
  const share = (n: number) => `${(100 * n) / Math.max(1, total)}%`;
  return (
    <div class="tile">
      <dt>Devices online</dt>
      <dd class="figure" data-testid="fleet-online">
        {online.toLocaleString("en-US")} <small>of {total.toLocaleString("en-US")}</small>
      </dd>
      <dd class="aside">
        {offline > 0 && <Link href="/devices?status=offline">{offline.toLocaleString("en-US")} offline</Link>}
        {offline > 0 && registered > 0 && ", "}
        {registered > 0 && <Link href="/devices?status=registered">{registered.toLocaleString("en-US")} not enrolled</Link>}
        {offline + registered === 0 && "every one of them"}
      </dd>
      <dd class="trend-box">
        <div class="states-bar" aria-hidden="true">
          <span class="good" style={{ width: share(online) }} />
          <span class="warn" style={{ width: share(offline) }} />
          <span class="idle" style={{ width: share(registered) }} />
        </div>
      </dd>
    </div>
  );
}

interface AgainstProps {
  now: number | null;
  usual: number | null;
  more: "worse" | "better" | "neither";
  what?: string;
}
/** How far from the mean of the last 24 hours. */
function Against({ now, usual, more, what }: AgainstProps) {
  const said = change(now, usual, more);
  if (said === null) return <span>{now === null ? "nothing was reported" : "no day to compare yet"}</span>;
  return (
    <span class={said.tone === "idle" ? "" : `told ${said.tone}`} title="Against the last 24 hours">
      {what ? `${what} ` : ""}
      {said.text}
    </span>
  );
}

function ErrorsAside({ fleet }: { fleet: Overview }) {
  const rate = fleet.now.errors_per_s;
  if (rate === null) return <span>no inference now</span>;
  if (rate === 0) return <span>none in the last two minutes</span>;
  return (
    <>
      {perSecond(rate)}, <Against now={fleet.now.error_ratio} usual={fleet.usual.error_ratio} more="worse" />
    </>
  );
}

function Heat({ fleet }: { fleet: Overview }) {
  const share = fleet.now.throttled;
  if (share === null) return <Against now={fleet.now.cpu_percent} usual={fleet.usual.cpu_percent} more="worse" />;
  return share > 0 ? <span class={share > 0.02 ? "told warn" : ""}>throttled {part(share)} of the time</span> : <span>none throttled</span>;
}

function PowerAside({ fleet }: { fleet: Overview }) {
  const { power_devices: told, power_estimated: estimated } = fleet.now;
  if (told === 0) return <span>no device reports it</span>;
  return (
    <span>
      {told.toLocaleString("en-US")} of {fleet.devices.online.toLocaleString("en-US")} report it
      {estimated > 0 && `, ${plural(estimated, "estimate")}`}
    </span>
  );
}
