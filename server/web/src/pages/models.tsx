import { useState } from "preact/hooks";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Change, Dataset, Model } from "../api/types";
import { bytes, count, date, plural } from "../text/format";
import { jobIsOver } from "../text/words";
import { DropZone } from "../ui/drop_zone";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { Card, Empty, Failure, Loaded, Notice, Page } from "../ui/parts";
import { DatasetDialog } from "./dataset_dialog";
import { PushDialog } from "./push_dialog";
import { UploadDialog } from "./upload_dialog";

export const modelsChange = (change: Change) =>
  ["model", "artifact", "dataset"].includes(change.kind) || (change.kind === "job" && change.action !== "progress");

export function ModelsPage() {
  const models = useResource<Model[]>("/models", { on: modelsChange });
  const datasets = useResource<Dataset[]>("/datasets", { on: touches("dataset") });
  const [file, setFile] = useState<File | null>(null);
  const [addingData, setAddingData] = useState(false);
  const [pushing, setPushing] = useState<Model | null>(null);
  const [made, setMade] = useState<Model | null>(null);
  const mayAdd = useMay("operator");

  return (
    <Page title="Models" lead="Trained networks, as uploaded. Each is compressed once for every device profile that needs it.">
      {mayAdd && (
        <DropZone
          accept=".onnx,.pt2"
          onFile={setFile}
          testid="upload-model"
          label="Upload a model"
          hint="ONNX, or a PyTorch export (.pt2), up to 2 GiB"
        />
      )}
      {made && (
        <Notice tone="good" testid="upload-done">
          <p>
            <Link href={`/models/${encodeURIComponent(made.name)}`}>{made.name}</Link> is uploaded:{" "}
            {bytes(made.weight_bytes)} of weights, {count(made.parameters)} parameters.{" "}
            <button type="button" class="text" onClick={() => setPushing(made)}>
              Push it to devices
            </button>
          </p>
        </Notice>
      )}
      <Card flush>
        <Loaded from={models} lines={5}>
          {(all) =>
            all.length === 0 ? (
              <Empty icon="model" title="No model yet">
                Drop an ONNX file above. It is checked at the door; what the server cannot compress is refused with the
                reason.
              </Empty>
            ) : (
              <div class="table-box" tabIndex={0} role="region" aria-label="Models">
                <table>
                  <thead>
                    <tr>
                      <th scope="col">Model</th>
                      <th scope="col" class="num">
                        Weights
                      </th>
                      <th scope="col" class="num col-2">
                        Parameters
                      </th>
                      <th scope="col" class="num col-3">
                        MACs
                      </th>
                      <th scope="col" class="col-2">
                        Data set
                      </th>
                      <th scope="col" class="col-2">
                        Artifacts
                      </th>
                      <th scope="col" class="col-3">
                        Added
                      </th>
                      {mayAdd && (
                        <th scope="col">
                          <span class="visually-hidden">Actions</span>
                        </th>
                      )}
                    </tr>
                  </thead>
                  <tbody>
                    {all.map((model) => {
                      const busy = model.jobs.filter((job) => !jobIsOver(job.state)).length;
                      return (
                        <tr key={model.name} data-testid={`model-row-${model.name}`}>
                          <th scope="row">
                            <Link href={`/models/${encodeURIComponent(model.name)}`}>{model.name}</Link>
                            {model.note && <span class="sub">{model.note}</span>}
                          </th>
                          <td class="num">{bytes(model.weight_bytes)}</td>
                          <td class="num col-2">{count(model.parameters)}</td>
                          <td class="num col-3">{count(model.macs)}</td>
                          <td class="col-2">{model.dataset ?? <span class="sub">none</span>}</td>
                          <td class="col-2">
                            {model.artifacts.length === 0
                              ? "none"
                              : `${model.artifacts.length} for ${plural(new Set(model.artifacts.map((each) => each.profile)).size, "profile")}`}
                            {busy > 0 && <span class="sub">{plural(busy, "job")} under way</span>}
                          </td>
                          <td class="col-3">{date(model.created_at)}</td>
                          {mayAdd && (
                            <td class="tight">
                              <button
                                type="button"
                                class="small"
                                onClick={() => setPushing(model)}
                                aria-label={`Push ${model.name}`}
                                data-testid={`push-model-${model.name}`}
                              >
                                <Icon name="push" />
                                Push
                              </button>
                            </td>
                          )}
                        </tr>
                      );
                    })}
                  </tbody>
                </table>
              </div>
            )
          }
        </Loaded>
      </Card>
      <DatasetsCard datasets={datasets} mayAdd={mayAdd} onAdd={() => setAddingData(true)} />
      {file && (
        <UploadDialog
          file={file}
          datasets={datasets}
          onClose={() => setFile(null)}
          onMade={(model) => {
            setFile(null);
            setMade(model);
            models.reload();
          }}
        />
      )}
      {addingData && <DatasetDialog onClose={() => setAddingData(false)} onMade={() => setAddingData(false)} />}
      {pushing && <PushDialog model={pushing} onClose={() => setPushing(null)} />}
    </Page>
  );
}

interface DatasetsProps {
  datasets: ReturnType<typeof useResource<Dataset[]>>;
  mayAdd: boolean;
  onAdd: () => void;
}
function DatasetsCard({ datasets, mayAdd, onAdd }: DatasetsProps) {
  return (
    <Card
      flush
      title="Data sets"
      note="Labelled samples: for fine-tuning, calibration, and the accuracy in every report."
      actions={
        mayAdd && (
          <button type="button" class="small" onClick={onAdd} data-testid="dataset-open">
            <Icon name="plus" />
            Add a data set
          </button>
        )
      }
    >
      {datasets.value === undefined && datasets.error ? (
        <Failure error={datasets.error} retry={datasets.reload} />
      ) : datasets.value?.length === 0 ? (
        <Empty icon="chart" title="No data set yet">
          Without one, models can be coded but not fine-tuned, and no accuracy is measured.
        </Empty>
      ) : (
        <div class="table-box" tabIndex={0} role="region" aria-label="Data sets">
          <table>
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Task</th>
                <th scope="col">Samples</th>
                <th scope="col" class="col-2">
                  Source
                </th>
                <th scope="col" class="col-3">
                  Added
                </th>
              </tr>
            </thead>
            <tbody>
              {(datasets.value ?? []).map((each) => (
                <tr key={each.name} data-testid={`dataset-row-${each.name}`}>
                  <th scope="row">{each.name}</th>
                  <td>{each.task}</td>
                  <td>{splits(each.summary)}</td>
                  <td class="col-2">{each.path ? <code>{each.path}</code> : "uploaded .npz"}</td>
                  <td class="col-3">{date(each.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

/** {"splits": {"train": 60000, "test": {"samples": 10000}}} -> "60,000 train, 10,000 test". */
function splits(summary: unknown): string {
  const bag = typeof summary === "object" && summary !== null ? (summary as { splits?: unknown }).splits : null;
  if (typeof bag !== "object" || bag === null) return "not stated";
  const parts = Object.entries(bag).flatMap(([name, size]: [string, unknown]) => {
    const n = typeof size === "number" ? size : (size as { samples?: unknown } | null)?.samples;
    return typeof n === "number" ? [`${n.toLocaleString("en-US")} ${name}`] : [];
  });
  return parts.join(", ") || "not stated";
}
