// Many devices from a CSV file: all of them or none, and a code for each, as a file to keep.

import { useState } from "preact/hooks";
import { uploadText } from "../api/client";
import { bytes, plural } from "../text/format";
import { codesCsv, type MadeCode } from "../text/bulk";
import { Dialog, useAction } from "../ui/dialog";
import { DropZone } from "../ui/drop_zone";
import { Icon } from "../ui/icon";
import { Failure, Notice } from "../ui/parts";

interface Made {
  codes: MadeCode[];
}

export function BulkDialog({ onClose }: { onClose: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const [replace, setReplace] = useState(false);
  const [made, setMade] = useState<Made | null>(null);
  const send = useAction(async () => {
    if (!file) return;
    setMade(await uploadText<Made>(`/devices/bulk?replace=${replace}`, await file.text(), "text/csv"));
  });
  return (
    <Dialog title="Register many devices" onClose={onClose} wide testid="bulk-dialog">
      {made ? (
        <MadeCodes made={made} onClose={onClose} />
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (file) send.run();
          }}
        >
          <div class="dialog-body">
            {send.error && <Failure error={send.error} />}
            <p>
              A line for each device after a header. Columns that are neither name, profile nor labels become labels by
              their own name. All are registered or, where a row cannot be used, none.
            </p>
            <pre class="command">{"name,profile,labels,room\npress-01,raspberry-pi-4,site=hall-3;line=a,201\npress-02,raspberry-pi-4,site=hall-3;line=b,202"}</pre>
            <DropZone
              accept=".csv,text/csv"
              label={file ? file.name : "CSV file"}
              hint={file ? `${bytes(file.size)}; another file takes its place` : "UTF-8, at most 10,000 devices"}
              onFile={(chosen) => {
                setFile(chosen);
                send.clear();
              }}
              testid="bulk-file"
            />
            <label class="check">
              <input
                type="checkbox"
                checked={replace}
                onChange={(event) => setReplace(event.currentTarget.checked)}
                data-testid="bulk-replace"
              />
              <span>
                Devices that exist get a new code
                <span class="sub">and the profile and labels of the file; without this, such a row is an error</span>
              </span>
            </label>
          </div>
          <footer>
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="submit" class="primary" disabled={!file || send.busy} data-testid="bulk-submit">
              {send.busy ? "Registering" : "Register them"}
            </button>
          </footer>
        </form>
      )}
    </Dialog>
  );
}

function MadeCodes({ made, onClose }: { made: Made; onClose: () => void }) {
  const [kept, setKept] = useState(false);
  const href = `data:text/csv;charset=utf-8,${encodeURIComponent(codesCsv(made.codes))}`;
  return (
    <>
      <div class="dialog-body">
        <Notice tone="good" testid="bulk-made">
          <p>
            {plural(made.codes.length, "device is", "devices are")} registered. Their codes are shown only now: each
            works once, on its own device.
          </p>
        </Notice>
        <div class="table-box bulk-codes" tabIndex={0} role="region" aria-label="Codes">
          <table>
            <thead>
              <tr>
                <th scope="col">Device</th>
                <th scope="col">Code</th>
              </tr>
            </thead>
            <tbody>
              {made.codes.slice(0, 200).map((each) => (
                <tr key={each.device}>
                  <th scope="row">{each.device}</th>
                  <td>
                    <code>{each.code}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {made.codes.length > 200 && <p class="note">and {(made.codes.length - 200).toLocaleString("en-US")} more in the file</p>}
        </div>
      </div>
      <footer>
        <a class="button" href={href} download="edgepress-codes.csv" onClick={() => setKept(true)} data-testid="bulk-download">
          <Icon name="download" />
          Codes as CSV
        </a>
        <button type="button" class={kept ? "primary" : ""} onClick={onClose} data-testid="bulk-done">
          Done
        </button>
      </footer>
    </>
  );
}
