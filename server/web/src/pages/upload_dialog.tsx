import { useState } from "preact/hooks";
import { query } from "../api/client";
import type { Resource } from "../api/resource";
import type { Dataset, Model } from "../api/types";
import { bytes } from "../text/format";
import { modelNameOf } from "../text/names";
import { Dialog } from "../ui/dialog";
import { Field } from "../ui/field";
import { Failure, Meter } from "../ui/parts";
import { useUpload } from "../ui/use_upload";
import { DatasetDialog } from "./dataset_dialog";

interface Props {
  file: File;
  datasets: Resource<Dataset[]>;
  onClose: () => void;
  onMade: (model: Model) => void;
}

export function UploadDialog({ file, datasets, onClose, onMade }: Props) {
  const [name, setName] = useState(modelNameOf(file.name));
  const [dataset, setDataset] = useState("");
  const [addingData, setAddingData] = useState(false);
  const up = useUpload<Model>(onMade);
  const busy = up.sent !== null;
  const share = up.sent === null || file.size === 0 ? 0 : up.sent / file.size;
  if (addingData) {
    return (
      <DatasetDialog
        onClose={() => setAddingData(false)}
        onMade={(made) => {
          setDataset(made.name);
          datasets.reload();
          setAddingData(false);
        }}
      />
    );
  }
  return (
    <Dialog title="Upload a model" onClose={onClose} testid="upload-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (name) up.start("/models" + query({ name, dataset }), file);
        }}
      >
        <div class="dialog-body">
          {up.error && <Failure error={up.error} />}
          <p>
            <b>{file.name}</b> <span class="hint">{bytes(file.size)}</span>
          </p>
          <Field label="Name" problem={name === "" ? "Give the model a name." : null}>
            {(ids) => (
              <input
                {...ids}
                autofocus
                autocomplete="off"
                spellcheck={false}
                disabled={busy}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
                data-testid="upload-name"
              />
            )}
          </Field>
          <Field
            label="Data set"
            hint={
              <>
                Measures the accuracy and fine-tunes what compression costs. It can be chosen later.{" "}
                <button type="button" class="text" onClick={() => setAddingData(true)} disabled={busy}>
                  Add one
                </button>
              </>
            }
          >
            {(ids) => (
              <select
                {...ids}
                disabled={busy}
                value={dataset}
                onChange={(event) => setDataset(event.currentTarget.value)}
                data-testid="upload-dataset-choice"
              >
                <option value="">None</option>
                {(datasets.value ?? []).map((each) => (
                  <option key={each.name} value={each.name}>
                    {each.name}
                  </option>
                ))}
                {dataset && !datasets.value?.some((each) => each.name === dataset) && (
                  <option value={dataset}>{dataset}</option>
                )}
              </select>
            )}
          </Field>
          {busy && (
            <div class="stack" role="status" data-testid="upload-progress">
              <Meter value={share} label="Upload" />
              <span class="hint">
                {share < 1 ? `${bytes(up.sent)} of ${bytes(file.size)}` : "Uploaded; the server reads the model."}
              </span>
            </div>
          )}
        </div>
        <footer>
          <button type="button" onClick={busy ? up.cancel : onClose}>
            {busy ? "Stop the upload" : "Cancel"}
          </button>
          <button type="submit" class="primary" disabled={busy || name === ""} data-testid="upload-submit">
            Upload
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
