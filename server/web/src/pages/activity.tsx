// The last things that happened, in words.

import { query } from "../api/client";
import { useResource } from "../api/resource";
import type { Change } from "../api/types";
import { eventWords } from "../text/events";
import { time } from "../text/format";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";

const KEPT = 12;

export function Activity() {
  const events = useResource<Change[]>("/events" + query({ limit: 200 }), {
    on: (change) => eventWords(change) !== null,
    everyMs: 2000,
  });
  const told = (events.value ?? []).flatMap((change) => {
    const words = eventWords(change);
    return words ? [{ change, words }] : [];
  });
  const newest = told.sort((a, b) => b.change.id - a.change.id).slice(0, KEPT);
  if (newest.length === 0) return null;
  return (
    <Card title="Activity">
      <ul class="activity">
        {newest.map(({ change, words }) => (
          <li key={change.id}>
            <time dateTime={new Date(change.at).toISOString()}>{time(change.at)}</time>
            <span>
              {words.href ? <Link href={words.href}>{words.subject}</Link> : words.subject} {words.text}
              {change.actor && change.actor !== words.subject && <span class="note"> by {change.actor}</span>}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
