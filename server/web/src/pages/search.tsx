// One search, live: what was asked, the front as it grows, every trial, and what one can do with it.

import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Cost, Search, Trial } from "../api/searches";
import { useMay } from "../api/session";
import { dots, knownCosts } from "../plot/search_points";
import { SearchPlot } from "../plot/search_plot";
import { clock, date, digest, plural } from "../text/format";
import { costWords, namedTrials, searchIsOver, searchSaying, searchWord } from "../text/search_words";
import { useAction } from "../ui/dialog";
import { Choice } from "../ui/field";
import { Link } from "../ui/link";
import { Badge, Card, Empty, Fact, Failure, Loaded, Meter, Notice, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { TrialPanel } from "./search_trial";
import { TrialTable } from "./search_trials";

export function SearchPage({ id }: { id: string }) {
  const path = `/searches/${encodeURIComponent(id)}`;
  const search = useResource<Search>(path, { on: touches("search", id), everyMs: 800 });
  const trials = useResource<Trial[]>(`${path}/trials`, { on: touches("search", id), everyMs: 1500 });
  const found = search.value;
  return (
    <Page
      title={found ? `${found.model} for ${found.profile}` : "Search"}
      above={<Link href="/searches">Searches</Link>}
      lead={found ? `Within ${found.budget_words}` : undefined}
      actions={found && !searchIsOver(found.state) && <CancelButton search={found} />}
    >
      <Loaded from={search} lines={6}>
        {(value) => (
          <>
            <Standing search={value} />
            <Loaded from={trials} lines={6}>
              {(all) => <Trials search={value} trials={all} />}
            </Loaded>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Standing({ search }: { search: Search }) {
  const over = searchIsOver(search.state);
  const saying = searchSaying(search);
  const impossible = search.best === null && search.blocked.length > 0;
  return (
    <Card
      testid="search-standing"
      title={
        <span class="row">
          Search <Badge word={searchWord(search)} testid="search-state" />
        </span>
      }
      note={
        search.reason && (
          <>
            Why: {search.reason} {search.finding && <Link href={`/findings/${search.finding}`}>The whole story</Link>}
          </>
        )
      }
    >
      {!(impossible && over) && saying && (
        <p aria-live="polite" data-testid="search-saying" class={search.state === "failed" ? "problem" : "clip"}>
          {saying}
        </p>
      )}
      {!over && <Meter value={search.progress} label="Progress of this search" />}
      {impossible && <Impossible search={search} />}
      <dl class="facts">
        <Fact name="Model">
          <Link href={`/models/${encodeURIComponent(search.model)}`}>{search.model}</Link>
        </Fact>
        <Fact name="Profile">
          <Link href={`/profiles/${encodeURIComponent(search.profile)}`}>{search.profile}</Link>
        </Fact>
        <Fact name="Data set">{search.dataset ?? "none: accuracy is not known"}</Fact>
        <Fact name="Predictions rest on">{search.basis}</Fact>
        <Fact name="Time">
          {clock(search.spent_s * 1000)} of work, {clock(search.options.seconds * 1000)} asked for
        </Fact>
        <Fact name="Trials" testid="search-trials">
          {search.trials.done} done{search.trials.failed > 0 ? `, ${search.trials.failed} failed` : ""}
          {search.trials.running > 0 ? `, ${search.trials.running} ${over ? "cut short by the end" : "under way"}` : ""}
        </Fact>
        {search.options.device && (
          <Fact name="Device in the loop">
            <Link href={`/devices/${encodeURIComponent(search.options.device)}`}>{search.options.device}</Link>
          </Fact>
        )}
        <Fact name="Asked for">
          {date(search.created_at)}
          {search.actor ? ` by ${search.actor}` : ""}
        </Fact>
      </dl>
      {search.measurements.length > 0 && (
        <ul class="notes">
          {search.measurements.map((each) => (
            <li key={each.digest}>
              <code>{digest(each.digest)}</code> {each.message || `${each.device}: ${MEASURING[each.state]}`}
              {each.rollout && (
                <>
                  {" "}
                  <Link href={`/rollouts/${each.rollout}`}>Its rollout</Link>
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {search.notes.length > 0 && (
        <ul class="notes">
          {search.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </Card>
  );
}

const MEASURING = {
  asked: "a candidate is to be measured there",
  rolling_out: "a candidate is on its way",
  profiling: "measures a candidate",
  done: "measured a candidate",
  failed: "did not measure it",
} as const;

/** Nothing within the budget: the nearest point, and what is in the way. */
function Impossible({ search }: { search: Search }) {
  return (
    <Notice tone="warn" testid="search-blocked">
      <p>
        <b>{search.state === "done" ? `Nothing was found within ${search.budget_words}.` : "Nothing within the budget so far."}</b>
        {search.nearest !== null && (
          <>
            {" "}
            The nearest is <Link href={`/searches/${search.id}?trial=${search.nearest}`}>trial {search.nearest}</Link>.
          </>
        )}
      </p>
      {search.blocked.map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
    </Notice>
  );
}

function Trials({ search, trials }: { search: Search; trials: readonly Trial[] }) {
  const [query, setQuery] = useQuery();
  const costs = knownCosts(trials, search.budget);
  const asked = query.get("x") as Cost | null;
  const cost = asked !== null && costs.includes(asked) ? asked : costs[0];
  const wanted = query.get("trial");
  const chosen = wanted === null ? (search.best ?? search.nearest) : Number(wanted);
  const choose = (number: number) => setQuery({ trial: String(number) });
  const trial = trials.find((each) => each.number === chosen);
  if (cost === undefined) {
    return (
      <Card>
        <Empty icon="search" title={searchIsOver(search.state) ? "No trial was done" : "No trial is done yet"}>
          {searchIsOver(search.state)
            ? "It ended before the model as it is was measured; there is nothing to compare."
            : "The model as it is comes first. Its dot appears here, then one for each recipe that was tried."}
        </Empty>
      </Card>
    );
  }
  const all = dots(trials, cost);
  return (
    <>
      <div class="search-split">
        <Card
          testid="search-front"
          title={`Accuracy against ${costWords[cost].title}`}
          note={
            all.every((dot) => dot.points === null)
              ? "Without a data set accuracy is not known: every dot stands at the foot"
              : `Left and up is better; ${plural(search.front.length, "trial")} on the front`
          }
          actions={
            costs.length > 1 && (
              <Choice
                label="Cost"
                value={cost}
                options={costs.map((each) => [each, costWords[each].title] as const)}
                onChange={(value) => setQuery({ x: value })}
                testid="search-cost"
              />
            )
          }
        >
          <SearchPlot
            label={`Accuracy against ${costWords[cost].title}`}
            dots={all}
            cost={cost}
            budget={search.budget}
            title={axisTitle(search, cost)}
            format={costWords[cost].format}
            named={namedTrials(search)}
            chosen={chosen}
            onChoose={choose}
          />
          <Key unknown={all.filter((dot) => dot.stage === "predicted").length} measured={all.some((dot) => dot.stage === "measured")} />
        </Card>
        {trial ? (
          <TrialPanel key={trial.number} search={search} trial={trial} original={trials[0]} />
        ) : (
          <Card>
            <p class="note">Choose a dot or a row to see its recipe.</p>
          </Card>
        )}
      </div>
      <TrialTable search={search} trials={trials} chosen={chosen} onChoose={choose} />
    </>
  );
}

function axisTitle(search: Search, cost: Cost): string {
  const limit = search.budget[cost];
  return `${costWords[cost].title}${limit === null ? "" : `, at most ${costWords[cost].format(limit)}`}`;
}

function Key({ unknown, measured }: { unknown: number; measured: boolean }) {
  return (
    <ul class="search-key" aria-hidden="true">
      <li class="full">evaluated: decoded and tested</li>
      {unknown > 0 && <li class="hollow">predicted only, accuracy not looked at (at the foot)</li>}
      {measured && <li class="ringed">measured on the device</li>}
      <li class="line">front</li>
      <li class="shade">within the budget</li>
    </ul>
  );
}

function CancelButton({ search }: { search: Search }) {
  const may = useMay("operator");
  const action = useAction(() => post(`/searches/${search.id}/cancel`));
  if (!may) return null;
  return (
    <>
      {action.error && <Failure error={action.error} />}
      <button type="button" class="danger" disabled={action.busy || search.cancelling} onClick={action.run} data-testid="search-cancel">
        {search.cancelling ? "Being cancelled" : "Cancel"}
      </button>
    </>
  );
}
