import { useState } from "preact/hooks";
import { post, query } from "../api/client";
import { useMay } from "../api/session";
import type { Dataset } from "../api/types";
import { bytes } from "../text/format";
import { modelNameOf } from "../text/names";
import { Dialog, useAction } from "../ui/dialog";
import { DropZone } from "../ui/drop_zone";
import { Choice, Field } from "../ui/field";
import { Failure, Meter } from "../ui/parts";
import { useUpload } from "../ui/use_upload";

type Source = "npz" | "toml";

export function DatasetDialog({ onClose, onMade }: { onClose: () => void; onMade: (made: Dataset) => void }) {
  const [source, setSource] = useState<Source>("npz");
  const [name, setName] = useState("");
  const [file, setFile] = useState<File | null>(null);
  const [path, setPath] = useState("");
  const mayNamePaths = useMay("admin");
  const up = useUpload<Dataset>(onMade);
  const byPath = useAction(async () => onMade(await post<Dataset>("/datasets", { name, path })));
  const error = source === "npz" ? up.error : byPath.error;
  const busy = up.sent !== null || byPath.busy;
  const ready = name !== "" && (source === "npz" ? file !== null : path !== "");
  return (
    <Dialog title="Add a data set" onClose={onClose} testid="dataset-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!ready) return;
          if (source === "toml") byPath.run();
          else if (file) up.start("/datasets" + query({ name }), file);
        }}
      >
        <div class="dialog-body">
          {error && <Failure error={error} />}
          {mayNamePaths && (
            <Choice
              label="Source"
              value={source}
              options={[
                ["npz", "Upload a .npz"],
                ["toml", "Description on the server"],
              ]}
              onChange={setSource}
            />
          )}
          {source === "npz" ? (
            file ? (
              <p class="row apart">
                <span>
                  <b>{file.name}</b> <span class="hint">{bytes(file.size)}</span>
                </span>
                <button type="button" class="small" disabled={busy} onClick={() => setFile(null)}>
                  Another file
                </button>
              </p>
            ) : (
              <DropZone
                accept=".npz"
                label="Upload a data set"
                hint="NumPy .npz: arrays named as the model's inputs, and labels"
                testid="upload-dataset-file"
                onFile={(chosen) => {
                  setFile(chosen);
                  if (!name) setName(modelNameOf(chosen.name));
                }}
              />
            )
          ) : (
            <Field label="Path of the TOML" hint="On the server's disk, for data that is too large to upload.">
              {(ids) => (
                <input
                  {...ids}
                  spellcheck={false}
                  value={path}
                  onInput={(event) => setPath(event.currentTarget.value)}
                  data-testid="dataset-path"
                />
              )}
            </Field>
          )}
          <Field label="Name">
            {(ids) => (
              <input
                {...ids}
                autocomplete="off"
                spellcheck={false}
                value={name}
                disabled={busy}
                onInput={(event) => setName(event.currentTarget.value)}
                data-testid="dataset-name"
              />
            )}
          </Field>
          {up.sent !== null && file && (
            <div class="stack" role="status">
              <Meter value={up.sent / Math.max(1, file.size)} label="Upload" />
              <span class="hint">
                {up.sent < file.size ? `${bytes(up.sent)} of ${bytes(file.size)}` : "Uploaded; the server reads it."}
              </span>
            </div>
          )}
        </div>
        <footer>
          <button type="button" onClick={up.sent !== null ? up.cancel : onClose}>
            {up.sent !== null ? "Stop the upload" : "Cancel"}
          </button>
          <button type="submit" class="primary" disabled={busy || !ready} data-testid="dataset-submit">
            Add
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
