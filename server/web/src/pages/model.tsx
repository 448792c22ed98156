import { useState } from "preact/hooks";
import { patch } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Artifact, Change, Dataset, Model, Profile } from "../api/types";
import { bytes, count, date, shape } from "../text/format";
import { jobIsOver } from "../text/words";
import { useAction } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { Card, Empty, Fact, Failure, Loaded, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { ArtifactDetail } from "./artifact_detail";
import { ParetoCards } from "./artifact_pareto";
import { CompareTable } from "./artifact_table";
import { Budgets } from "./budgets";
import { CompressDialog } from "./compress_dialog";
import { JobTable } from "./jobs";
import { ModelField } from "./model_telemetry";
import { OnDevice } from "./on_device";
import { PushDialog } from "./push_dialog";
import { SearchDialog } from "./search_dialog";
import { ModelSearches } from "./searches";

export function ModelPage({ name }: { name: string }) {
  const on = (change: Change) =>
    (change.kind === "model" && change.subject === name) || change.kind === "artifact" || change.kind === "job";
  const model = useResource<Model>(`/models/${encodeURIComponent(name)}`, { on });
  const profiles = useResource<Profile[]>("/profiles");
  const [asked, setAsked] = useState<"push" | "compress" | "search" | null>(null);
  const may = useMay("operator");
  const field = useQuery()[0].get("tab") === "field";
  return (
    <Page
      title={name}
      above={<Link href="/models">Models</Link>}
      lead={model.value?.note || undefined}
      actions={
        model.value &&
        may && (
          <>
            <button type="button" onClick={() => setAsked("compress")} data-testid="compress-open">
              Compress
            </button>
            <button type="button" onClick={() => setAsked("search")} data-testid="search-open">
              Search for a budget
            </button>
            <button type="button" class="primary" onClick={() => setAsked("push")} data-testid="push-open">
              <Icon name="push" />
              Push to devices
            </button>
          </>
        )
      }
    >
      <Loaded from={model} lines={8}>
        {(value) => (
          <>
            <Facts model={value} />
            <ModelTabs model={value.name} field={field} />
            {field ? (
              <ModelField model={value.name} />
            ) : (
              <>
                <Budgets model={value} profiles={profiles} />
                <Jobs model={value} />
                <ModelSearches model={value.name} />
                <Artifacts model={value} profiles={profiles.value ?? []} />
              </>
            )}
          </>
        )}
      </Loaded>
      {asked === "push" && model.value && <PushDialog model={model.value} onClose={() => setAsked(null)} />}
      {asked === "search" && model.value && (
        <SearchDialog model={model.value} profiles={profiles} onClose={() => setAsked(null)} />
      )}
      {asked === "compress" && model.value && (
        <CompressDialog model={model.value} profiles={profiles} onClose={() => setAsked(null)} />
      )}
    </Page>
  );
}

function ModelTabs({ model, field }: { model: string; field: boolean }) {
  const here = `/models/${encodeURIComponent(model)}`;
  return (
    <nav class="tabs" aria-label="Model">
      <ul>
        <li>
          <Link href={here} aria-current={field ? undefined : "page"} data-testid="model-tab-artifacts">
            Artifacts
          </Link>
        </li>
        <li>
          <Link href={`${here}?tab=field`} aria-current={field ? "page" : undefined} data-testid="model-tab-field">
            In the field
          </Link>
        </li>
      </ul>
    </nav>
  );
}

function Facts({ model }: { model: Model }) {
  const ports = (list: Model["inputs"]) =>
    list.map((each) => (
      <div key={each.name}>
        {each.name} <span class="note">{shape(each.shape)} {each.dtype}</span>
      </div>
    ));
  return (
    <Card>
      <dl class="facts">
        <Fact name="Weights, fp32">{bytes(model.weight_bytes)}</Fact>
        <Fact name="Parameters">{count(model.parameters)}</Fact>
        <Fact name="Multiply-accumulates">{model.macs === null ? "not known" : count(model.macs)}</Fact>
        <Fact name="File">{bytes(model.bytes)}</Fact>
        <Fact name="Inputs">{ports(model.inputs)}</Fact>
        <Fact name="Outputs">{ports(model.outputs)}</Fact>
        <Fact name="Data set">
          <DatasetChoice model={model} />
        </Fact>
        <Fact name="Added">{date(model.created_at)}</Fact>
      </dl>
    </Card>
  );
}

function DatasetChoice({ model }: { model: Model }) {
  const datasets = useResource<Dataset[]>("/datasets", { on: touches("dataset") });
  const [wanted, setWanted] = useState<string | null>(null);
  const action = useAction(() => patch(`/models/${encodeURIComponent(model.name)}`, { dataset: wanted }), () => setWanted(null));
  const may = useMay("operator");
  if (!may) return <>{model.dataset ?? "none"}</>;
  const names = new Set([...(datasets.value ?? []).map((each) => each.name), ...(model.dataset ? [model.dataset] : [])]);
  return (
    <div class="stack tight">
      <div class="row">
        <select
          aria-label="Data set of this model"
          class="inline"
          value={wanted ?? model.dataset ?? ""}
          onChange={(event) => setWanted(event.currentTarget.value || null)}
          data-testid="model-dataset"
        >
          {!model.dataset && <option value="">None</option>}
          {[...names].map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
        {wanted !== null && wanted !== model.dataset && (
          <button type="button" class="small" disabled={action.busy} onClick={action.run} data-testid="model-dataset-save">
            Save
          </button>
        )}
      </div>
      {action.error && <Failure error={action.error} />}
    </div>
  );
}

function Jobs({ model }: { model: Model }) {
  const live = model.jobs.filter((job) => !jobIsOver(job.state));
  // A failed job matters until a later one of the same recipe and profile went better.
  const failed = model.jobs.filter(
    (job) =>
      job.state === "failed" &&
      !model.jobs.some(
        (other) =>
          other.recipe === job.recipe && other.profile === job.profile && other.created_at > job.created_at,
      ),
  );
  const shown = [...live, ...failed];
  if (shown.length === 0) return null;
  return (
    <Card flush title="Jobs" note="Under way, or failed and not run again">
      <JobTable jobs={shown} />
    </Card>
  );
}

function Artifacts({ model, profiles }: { model: Model; profiles: readonly Profile[] }) {
  const [search, setSearch] = useQuery();
  const sorted = [...model.artifacts].sort(
    (a, b) => a.profile.localeCompare(b.profile) || b.created_at - a.created_at,
  );
  const chosen = sorted.find((each) => each.digest === search.get("artifact")) ?? sorted[0];
  if (!chosen) {
    return (
      <>
        <Card>
          <Empty icon="job" title="Nothing compressed yet">
            Push the model to devices, or compress it for a profile to see what it costs and gains first.
          </Empty>
        </Card>
        <OnDevice model={model} artifact={null} profiles={profiles} />
      </>
    );
  }
  return (
    <>
      <CompareTable
        model={model}
        artifacts={sorted}
        profiles={profiles}
        chosen={chosen.digest}
        onChoose={(digest) => setSearch({ artifact: digest })}
      />
      <ParetoCards model={model} artifacts={sorted} chosen={chosen.digest} onChoose={(digest) => setSearch({ artifact: digest })} />
      <OnDevice model={model} artifact={chosen} profiles={profiles} />
      <Detail key={chosen.digest} digest={chosen.digest} />
    </>
  );
}

function Detail({ digest }: { digest: string }) {
  const artifact = useResource<Artifact>(`/artifacts/${digest}`);
  return <Loaded from={artifact}>{(value) => <ArtifactDetail artifact={value} />}</Loaded>;
}
