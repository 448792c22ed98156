// Why a rollout did what it did, newest first.

import { useState } from "preact/hooks";
import type { Decision } from "../api/rollouts";
import type { Resource } from "../api/resource";
import { date } from "../text/format";
import { decidedBy, decisionWords } from "../text/rollout";
import { Badge, Card, Loaded } from "../ui/parts";

const SHOWN = 12;

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
                    {decision.why && <p>{decision.why}</p>}
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
