// What is wrong, gravest first: one sentence each that says what, where and since when, and a way to it.

import { useState } from "preact/hooks";
import type { Overview, Problem } from "../api/overview";
import { ago, date, plural } from "../text/format";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Card } from "../ui/parts";

const SHOWN = 5;
const NAMED = 4; // devices of one problem

export function Problems({ of }: { of: Overview["problems"] }) {
  const [all, setAll] = useState(false);
  if (of.total === 0) {
    return (
      <div class="all-well" role="status" data-testid="problems-none">
        <Icon name="check" />
        <p>
          <b>Nothing is wrong.</b> No device is missing, hot, full or failing, and no alert is firing.
        </p>
      </div>
    );
  }
  const critical = of.list.filter((each) => each.severity === "critical").length;
  const shown = all ? of.list : of.list.slice(0, SHOWN);
  const more = of.list.length - shown.length;
  return (
    <Card
      flush
      title={
        <span class="row tight">
          <span>{of.total === 1 ? "One thing is wrong" : `${of.total.toLocaleString("en-US")} things are wrong`}</span>
          {critical > 0 && <span class="badge bad">{plural(critical, "critical problem")}</span>}
        </span>
      }
      actions={<Link href="/alerts">Alerts</Link>}
      testid="problems"
      class={critical > 0 ? "problems bad" : "problems warn"}
    >
      <ul class="problem-list">
        {shown.map((each) => (
          <Row key={`${each.kind} ${each.sentence}`} of={each} />
        ))}
      </ul>
      {(more > 0 || of.total > of.list.length) && (
        <footer class="table-foot">
          {more > 0 && (
            <button type="button" class="small" onClick={() => setAll(true)}>
              Show {more} more
            </button>
          )}
          {of.total > of.list.length && <Link href="/alerts">{of.total - of.list.length} further ones</Link>}
        </footer>
      )}
    </Card>
  );
}

function Row({ of }: { of: Problem }) {
  const now = useNow();
  const tone = of.severity === "critical" ? "bad" : "warn";
  const named = of.devices.slice(0, NAMED);
  return (
    <li class={tone} data-testid={`problem-${of.kind}`}>
      <Icon name={of.severity === "critical" ? "alert" : "info"} />
      <div class="problem-what">
        <p>
          <span class="visually-hidden">{of.severity}: </span>
          {of.link ? <Link href={of.link}>{of.sentence}</Link> : of.sentence}
        </p>
        <p class="problem-where">
          {of.model && (
            <Link href={`/models/${encodeURIComponent(of.model)}${of.digest ? `?artifact=${of.digest}` : ""}`} class="tag">
              {of.model}
            </Link>
          )}
          {of.profile && (
            <Link href={`/devices?profile=${encodeURIComponent(of.profile)}`} class="tag">
              {of.profile}
            </Link>
          )}
          {named.map((name, i) => (
            <Link key={name} href={`/devices/${encodeURIComponent(name)}`} class={i < 2 ? "tag plain" : "tag plain desk"}>
              {name}
            </Link>
          ))}
          {of.count > named.length && named.length > 0 && <span class="sub desk">and {(of.count - named.length).toLocaleString("en-US")} more</span>}
          {of.count > 2 && named.length > 2 && <span class="sub phone-inline">and {(of.count - 2).toLocaleString("en-US")} more</span>}
        </p>
      </div>
      {of.since !== null && (
        <time class="problem-since" dateTime={new Date(of.since).toISOString()} title={date(of.since)}>
          {ago(of.since, now)}
        </time>
      )}
    </li>
  );
}
