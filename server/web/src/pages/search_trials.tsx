// Every trial of a search as a table: filtered, sorted by number, the newest first while it runs.

import type { Search, Trial } from "../api/searches";
import { COSTS } from "../plot/search_points";
import { costText, costWords, type Filter, FILTERS, lossWords, passes, searchIsOver, trialWord } from "../text/search_words";
import { Choice } from "../ui/field";
import { Badge, Card } from "../ui/parts";
import { useQuery } from "../ui/route";

interface Props {
  search: Search;
  trials: readonly Trial[];
  chosen: number | null;
  onChoose: (number: number) => void;
}

export function TrialTable({ search, trials, chosen, onChoose }: Props) {
  const [query, setQuery] = useQuery();
  const asked = query.get("show") as Filter | null;
  const filter = FILTERS.some(([name]) => name === asked) ? (asked as Filter) : "all";
  const shown = trials.filter((trial) => passes(trial, filter));
  const ordered = searchIsOver(search.state) ? shown : [...shown].reverse();
  const costs = COSTS.filter((cost) => trials.some((trial) => (trial.figures?.[cost] ?? null) !== null));
  return (
    <Card
      flush
      title="Trials"
      note="~ stands before what was predicted and not measured"
      actions={<Choice label="Which trials" value={filter} options={FILTERS} onChange={(value) => setQuery({ show: value })} testid="trial-filter" />}
    >
      <div class="table-box tall" tabIndex={0} role="region" aria-label="Trials">
        <table class="stacking trials">
          <thead>
            <tr>
              <th scope="col">Trial</th>
              <th scope="col">Budget</th>
              <th scope="col" class="num">
                Accuracy
              </th>
              {costs.map((cost, i) => (
                <th key={cost} scope="col" class={`num ${i > 1 ? "col-3" : ""}`}>
                  {capital(costWords[cost].title)}
                </th>
              ))}
              <th scope="col" class="col-3">
                Stage
              </th>
            </tr>
          </thead>
          <tbody>
            {ordered.map((trial) => (
              <tr key={trial.number} class={trial.number === chosen ? "chosen" : ""} data-testid={`trial-row-${trial.number}`}>
                <th scope="row">
                  <button type="button" class="text" aria-pressed={trial.number === chosen} onClick={() => onChoose(trial.number)}>
                    {trial.number}. {trial.title}
                  </button>
                  {trial.on_front && trial.number > 0 && <span class="sub">on the front</span>}
                  {trial.state === "failed" && <span class="problem">{trial.error}</span>}
                </th>
                <td>{trial.within === null ? "–" : trial.within ? <Badge word={{ text: "met", tone: "good" }} /> : <Badge word={{ text: "missed", tone: "idle" }} />}</td>
                <td class="num grow-phone">{lossWords(trial.figures) ?? "–"}</td>
                {costs.map((cost, i) => (
                  <td key={cost} class={`num ${i > 1 ? "col-3" : ""}`}>
                    {trial.figures ? costText(trial.figures, cost) : "–"}
                  </td>
                ))}
                <td class="col-3">
                  <Badge word={trialWord(trial, searchIsOver(search.state))} />
                </td>
              </tr>
            ))}
            {ordered.length === 0 && (
              <tr>
                <td colSpan={4 + costs.length} class="note">
                  No trial is such.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

const capital = (word: string) => word.slice(0, 1).toUpperCase() + word.slice(1);
