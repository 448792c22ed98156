// One trial: its figures with what they rest on, its recipe in words and as a file, and what to do with it.

import { useEffect, useRef, useState } from "preact/hooks";
import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import { type Cost, type Search, type Trial, type TrialDetail } from "../api/searches";
import { useMay } from "../api/session";
import type { Job } from "../api/types";
import { COSTS } from "../plot/search_points";
import { accuracy } from "../text/format";
import { costText, costWords, lossWords, passWords, searchIsOver, trialWord } from "../text/search_words";
import { useAction } from "../ui/dialog";
import { Badge, Card, CopyButton, Failure, Loaded, Meter, Notice } from "../ui/parts";
import { navigate } from "../ui/route";
import { ReleaseDialog } from "./release_dialog";

interface Props {
  search: Search;
  trial: Trial;
  original: Trial | undefined;
}

export function TrialPanel({ search, trial, original }: Props) {
  const detail = useResource<TrialDetail>(`/searches/${search.id}/trials/${trial.number}`, {
    on: touches("search", search.id),
    everyMs: 3000,
  });
  return (
    <Card
      testid="trial-panel"
      title={`Trial ${trial.number}: ${trial.title}`}
      note={trial.reason || undefined}
      actions={
        <span class="row">
          {trial.within !== null && <Badge word={trial.within ? { text: "within the budget", tone: "good" } : { text: "misses the budget", tone: "idle" }} />}
          <Badge word={trialWord(trial, searchIsOver(search.state))} />
        </span>
      }
    >
      {trial.error && (
        <Notice tone="bad">
          <p>{trial.error}</p>
        </Notice>
      )}
      {trial.state === "running" && (
        <p class="note">
          {searchIsOver(search.state)
            ? "The search ended in its middle, so it has no figures."
            : "It is under way; its figures come when it is done."}
        </p>
      )}
      {trial.figures && <Figures search={search} trial={trial} original={original} />}
      {trial.state === "done" && <Actions search={search} trial={trial} />}
      <Loaded from={detail} lines={3}>
        {(value) => <RecipeOf search={search} trial={value} />}
      </Loaded>
    </Card>
  );
}

function Figures({ search, trial, original }: Props) {
  const { figures, tested } = trial;
  if (!figures) return null;
  const before = original?.figures ?? null;
  const { budget } = search;
  const rows: Row[] = COSTS.filter((cost) => figures[cost] !== null).map((cost: Cost) => ({
    name: costWords[cost].title,
    before: before ? costText(before, cost) : "–",
    after: costText(figures, cost),
    basis: figures[costWords[cost].basis] as string | null,
    missed: budget[cost] !== null && (figures[cost] ?? 0) > budget[cost]! ? `at most ${costWords[cost].format(budget[cost])} allowed` : null,
  }));
  if (figures.accuracy !== null) {
    rows.unshift({
      name: "accuracy",
      before: accuracy(before?.accuracy),
      after: `${accuracy(figures.accuracy)} (${lossWords(figures) ?? "–"})`,
      basis: figures.accuracy_basis,
      missed: budget.max_drop !== null && (figures.loss ?? 0) > budget.max_drop ? `at most ${Number((100 * budget.max_drop).toPrecision(4))} points allowed` : null,
    });
  }
  if (tested?.accuracy !== null && tested?.accuracy !== undefined) {
    const was = tested.drop === null ? "–" : accuracy(tested.accuracy + tested.drop);
    rows.push({ name: "tested", before: was, after: accuracy(tested.accuracy), basis: tested.accuracy_basis, missed: null });
  }
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Figures of this trial">
      <table class="figures">
        <thead>
          <tr>
            <th scope="col">Figure</th>
            <th scope="col">Original</th>
            <th scope="col">This</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, before: from, after: to, basis, missed }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{from}</td>
              <td>
                <b>{to}</b>
                {missed && <span class="problem"> {missed}</span>}
                {basis && <span class="sub">{basis}</span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Row {
  name: string;
  before: string;
  after: string;
  basis: string | null; // what it rests on
  missed: string | null; // the limit that it misses
}

interface Made {
  digest: string | null;
  job: Job | null;
}

/** Release and compare need the artifact, which a job makes again where its file was dropped. */
function Actions({ search, trial }: { search: Search; trial: Trial }) {
  const may = useMay("operator");
  const [digest, setDigest] = useState<string | null>(null);
  const [jobId, setJobId] = useState<string | null>(null);
  const [releasing, setReleasing] = useState(false);
  const wanted = useRef<"release" | "compare">("release");
  const job = useResource<Job>(jobId === null ? null : `/jobs/${jobId}`, { on: touches("job", jobId ?? ""), pollMs: 3000 });
  const go = (found: string) => {
    setDigest(found);
    if (wanted.current === "release") setReleasing(true);
    else navigate(`/models/${encodeURIComponent(search.model)}?artifact=${found}`);
  };
  const action = useAction(async () => {
    const made = await post<Made>(`/searches/${search.id}/trials/${trial.number}/artifact`);
    if (made.digest) go(made.digest);
    else setJobId(made.job?.id ?? null);
  });
  const made = job.value?.state === "done" ? job.value.artifact : null;
  useEffect(() => {
    if (made && digest === null) go(made);
  }, [made]);
  const ask = (what: "release" | "compare") => () => {
    wanted.current = what;
    if (digest) go(digest);
    else action.run();
  };
  if (!may) return null;
  const making = jobId !== null && digest === null;
  return (
    <div class="stack tight">
      <div class="row">
        <button type="button" class="primary" disabled={action.busy || making} onClick={ask("release")} data-testid="trial-release">
          Release this
        </button>
        <button type="button" disabled={action.busy || making} onClick={ask("compare")} data-testid="trial-compare">
          Compare
        </button>
      </div>
      {action.error && <Failure error={action.error} />}
      {making && job.value && job.value.state !== "failed" && (
        <div role="status">
          <p class="note">Its file was not kept; it is made again from its recipe: {job.value.message || job.value.state}</p>
          <Meter value={job.value.progress} label="Making the artifact again" />
        </div>
      )}
      {job.value?.state === "failed" && (
        <Notice tone="bad">
          <p>It could not be made again: {job.value.message}</p>
        </Notice>
      )}
      {releasing && digest && <ReleaseDialog search={search} trial={trial} digest={digest} onClose={() => setReleasing(false)} />}
    </div>
  );
}

function RecipeOf({ search, trial }: { search: Search; trial: TrialDetail }) {
  const steps = trial.recipe.passes ?? [];
  const file = `${search.model}-${trial.number}.toml`;
  const again = [
    `edgepress search recipe ${search.id} ${trial.number} > ${file}`,
    `edgepress compress ${search.model}.onnx --recipe ${file} --profile ${search.profile} --data DATA --seed ${search.options.seed ?? 0} -o ${search.model}-${trial.number}.epa`,
  ].join("\n");
  return (
    <div class="stack tight" data-testid="trial-recipe">
      <h3>Recipe</h3>
      {steps.length === 0 ? (
        <p class="note">Nothing is done to the model.</p>
      ) : (
        <ol class="notes">
          {steps.map((step, i) => (
            <li key={i}>{passWords(step)}</li>
          ))}
        </ol>
      )}
      <details class="more">
        <summary>As a file, and how to run it again</summary>
        <div class="stack tight">
          <div class="row apart">
            <span class="note">{file}</span>
            <CopyButton text={trial.toml} label="Copy the recipe" />
          </div>
          <pre class="command" data-testid="trial-toml">
            {trial.toml}
          </pre>
          <div class="row apart">
            <span class="note">With the model and its data at hand:</span>
            <CopyButton text={again} label="Copy the commands" />
          </div>
          <pre class="command">{again}</pre>
        </div>
      </details>
    </div>
  );
}
