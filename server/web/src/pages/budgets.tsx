import { useState } from "preact/hooks";
import { at, del } from "../api/client";
import type { Budget } from "../api/findings";
import { type Resource, touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Change, Model, Profile } from "../api/types";
import { budgetStateWords, figure, kindWords } from "../text/findings";
import { Confirm } from "../ui/dialog";
import { Link } from "../ui/link";
import { Badge, Card, Loaded } from "../ui/parts";
import { BudgetDialog } from "./budget_dialog";

/** What the model is to keep on each profile, and whether its devices do. */
export function Budgets({ model, profiles }: { model: Model; profiles: Resource<Profile[]> }) {
  const on = (change: Change) => touches("budget", model.name)(change) || change.kind === "finding" || change.kind === "telemetry";
  const budgets = useResource<Budget[]>(`/budgets?model=${at(model.name)}`, { on, everyMs: 5000 });
  const [editing, setEditing] = useState<Budget | "new" | null>(null);
  const [clearing, setClearing] = useState<Budget | null>(null);
  const may = useMay("operator");
  return (
    <Card
      flush={(budgets.value ?? []).length > 0}
      title="Budgets"
      note="What devices are to keep; their telemetry is watched for it"
      testid="budgets"
      actions={
        may && (
          <button type="button" onClick={() => setEditing("new")} data-testid="budget-open">
            Set a budget
          </button>
        )
      }
    >
      <Loaded from={budgets} lines={2}>
        {(all) =>
          all.length === 0 ? (
            <p class="note">None yet: nothing is said when devices are slow, or take too much memory or energy.</p>
          ) : (
            <div class="table-box" tabIndex={0} role="region" aria-label="Budgets">
              <table class="stacking">
                <thead>
                  <tr>
                    <th scope="col">Profile</th>
                    <th scope="col">Budget</th>
                    <th scope="col">Devices now</th>
                    <th scope="col">When missed</th>
                    {may && <th scope="col" aria-label="Actions" />}
                  </tr>
                </thead>
                <tbody>
                  {all.map((budget) => (
                    <tr key={budget.profile} data-testid={`budget-${budget.profile}`}>
                      <th scope="row">
                        <Link href={`/profiles/${at(budget.profile)}`}>{budget.profile}</Link>
                        {budget.source && (
                          <span class="sub">
                            from <Link href={`/searches/${at(budget.source)}`}>a search</Link>
                          </span>
                        )}
                      </th>
                      <td class="grow-phone">{budget.words}</td>
                      <td class="grow">
                        <Now budget={budget} />
                      </td>
                      <td>{budget.auto ? "acts by itself" : "asks"}</td>
                      {may && (
                        <td>
                          <span class="row">
                            <button type="button" class="small" onClick={() => setEditing(budget)}>
                              Change
                            </button>
                            <button type="button" class="small danger" onClick={() => setClearing(budget)}>
                              Clear
                            </button>
                          </span>
                        </td>
                      )}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      {editing && (
        <BudgetDialog
          model={model}
          profiles={profiles}
          budget={editing === "new" ? null : editing}
          onClose={() => {
            setEditing(null);
            budgets.reload();
          }}
        />
      )}
      {clearing && (
        <Confirm
          title={`Clear the budget on ${clearing.profile}?`}
          verb="Clear"
          onClose={() => {
            setClearing(null);
            budgets.reload();
          }}
          act={() => del(`/budgets/${at(clearing.model)}/${at(clearing.profile)}`)}
        >
          <p>Nothing is watched there any more, and what was found to miss it is settled.</p>
        </Confirm>
      )}
    </Card>
  );
}

function Now({ budget }: { budget: Budget }) {
  if (budget.now.length === 0) return <span class="note">too little telemetry yet</span>;
  return (
    <ul class="budget-now">
      {budget.now.map((now) => (
        <li key={`${now.digest} ${now.kind} ${now.scope}`} class="row">
          <Badge word={budgetStateWords[now.state]} />
          <span>
            {kindWords[now.kind]} {figure(now.kind, now.measured)}
            {now.scope === "device" && <span class="note"> on {now.devices.join(", ")}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}
