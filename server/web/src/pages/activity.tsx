// The last things that happened, in words. What happens to many at once is one line.

import { query } from "../api/client";
import { useResource } from "../api/resource";
import type { Change } from "../api/types";
import { grouped } from "../text/activity";
import { eventWords } from "../text/events";
import { time } from "../text/format";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";

const KEPT = 12;

export function Activity() {
  const events = useResource<Change[]>("/events" + query({ limit: 400, telemetry: "false" }), {
    on: (change) => eventWords(change) !== null,
    everyMs: 2000,
  });
  const newest = grouped(events.value ?? []).slice(0, KEPT);
  if (newest.length === 0) return null;
  return (
    <Card title="Activity" testid="activity">
      <ul class="activity">
        {newest.map(({ change, words, others }) => (
          <li key={change.id}>
            <time dateTime={new Date(change.at).toISOString()}>{time(change.at)}</time>
            <span>
              {words.href ? <Link href={words.href}>{words.subject}</Link> : words.subject}
              {others > 0 && ` and ${others.toLocaleString("en-US")} more:`} {words.text}
              {change.actor && change.actor !== words.subject && <span class="note"> by {change.actor}</span>}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
