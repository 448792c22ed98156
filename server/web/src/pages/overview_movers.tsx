// Who left its usual most: what it measures now against its own last day.

import type { Mover, Overview } from "../api/overview";
import { ago, date, plural } from "../text/format";
import { formatOf } from "../text/metrics";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Card } from "../ui/parts";

const SHOWN = 5;

export function Movers({ of }: { of: Overview["movers"] }) {
  const note =
    of.at === null
      ? "Devices are compared with their own last day; the first comparison is being made."
      : of.seen < of.of
        ? `${of.seen.toLocaleString("en-US")} of ${plural(of.of, "device")} compared with their own last day so far`
        : "Compared with their own last day";
  return (
    <Card title="Top movers" note={note} testid="movers">
      {of.list.length === 0 ? (
        <p class="quiet">{of.at === null ? "Nothing to say yet." : "Nobody is far from its usual."}</p>
      ) : (
        <ol class="movers">
          {of.list.slice(0, SHOWN).map((each) => (
            <Row key={`${each.kind} ${each.device} ${each.profile} ${each.digest} ${each.metric}`} of={each} />
          ))}
        </ol>
      )}
    </Card>
  );
}

function Row({ of }: { of: Mover }) {
  const now = useNow();
  const format = of.metric.endsWith("_ratio") ? formatOf("", "ratio") : formatOf(of.unit);
  const worse = of.factor >= 1;
  return (
    <li title={of.sentence} data-testid="mover">
      <span class="mover-who">
        {of.device ? (
          <Link href={`/devices/${encodeURIComponent(of.device)}`}>{of.device}</Link>
        ) : of.model ? (
          <Link href={`/models/${encodeURIComponent(of.model)}${of.digest ? `?artifact=${of.digest}` : ""}`}>
            {of.model} on {of.profile}
          </Link>
        ) : (
          <Link href={`/devices?profile=${encodeURIComponent(of.profile ?? "")}`}>{of.profile}</Link>
        )}
        <span class="sub">
          {of.title}: {format(of.usual)} → {format(of.now)}
          {of.kind === "group" && `, ${plural(of.devices, "device")}`}
        </span>
      </span>
      <span class={`mover-much ${worse ? (of.factor >= 2 ? "bad" : "warn") : "good"}`}>
        <b>{factor(of.factor)}</b>
        {of.since !== null && (
          <time class="sub" dateTime={new Date(of.since).toISOString()} title={date(of.since)}>
            {ago(of.since, now)}
          </time>
        )}
      </span>
    </li>
  );
}

function factor(value: number): string {
  if (value >= 2) return `${value >= 9.95 ? Math.round(value).toLocaleString("en-US") : value.toFixed(1)}×`;
  return `${value >= 1 ? "+" : "−"}${Math.round(Math.abs(value - 1) * 100)} %`;
}
