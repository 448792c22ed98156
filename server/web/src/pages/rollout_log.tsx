// Why a rollout did what it did, newest first.

import { useState } from "preact/hooks";
import type { Decision } from "../api/rollouts";
import type { Resource } from "../api/resource";
import { date } from "../text/format";
import { clauses, decidedBy, decisionWords } from "../text/rollout";
import { Link } from "../ui/link";
import { Badge, Card, Loaded, Message } from "../ui/parts";

const SHOWN = 12;
const ROLLOUT = /\b([0-9a-f]{12})\b/;

/** A sentence in which rollouts are named by their ids: those are links. */
export function RolloutText({ text }: { text: string }) {
  return (
    <>
      {text.split(ROLLOUT).map((part, i) =>
        i % 2 === 1 ? (
          <Link key={i} href={`/rollouts/${part}`}>
            {part}
          </Link>
        ) : (
          <Message key={i} text={part} />
        ),
      )}
    </>
  );
}

/** What was decided, and below it the figures that it rests on, a line each. */
export function Reason({ why }: { why: string }) {
  const [first, ...rest] = clauses(why);
  if (!first) return null;
  return (
    <>
      <p>
        <RolloutText text={first} />
      </p>
      {rest.length > 0 && (
        <ul class="bullets note">
          {rest.map((each) => (
            <li key={each}>
              <RolloutText text={each} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

export function RolloutLog({ decisions }: { decisions: Resource<Decision[]> }) {
  const [all, setAll] = useState(false);
  return (
    <Card title="Decisions" note="What was decided, by whom, and why." testid="rollout-log">
      <Loaded from={decisions} lines={4}>
        {(found) => {
          const newest = [...found].reverse();
          return (
            <>
              <ol class="decisions">
                {newest.slice(0, all ? undefined : SHOWN).map((decision) => (
                  <li key={decision.id} data-testid={`decision-${decision.what}`}>
                    <span class="row tight">
                      <Badge word={decisionWords[decision.what] ?? { text: decision.what, tone: "idle" }} />
                      <time class="note">
                        {date(decision.at)}
                        {decidedBy(decision)}
                      </time>
                    </span>
                    <Reason why={decision.why} />
                  </li>
                ))}
              </ol>
              {found.length > SHOWN && (
                <button type="button" class="text" onClick={() => setAll(!all)} data-testid="rollout-log-all">
                  {all ? "Show the newest only" : `Show all ${found.length}`}
                </button>
              )}
            </>
          );
        }}
      </Loaded>
    </Card>
  );
}
