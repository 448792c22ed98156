import { useState } from "preact/hooks";
import type { Alert } from "../api/alerts";
import { post } from "../api/client";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Failure } from "../ui/parts";

/** Somebody is on it: others see who, and it is told no more until it has changed. */
export function AcknowledgeDialog({ alert, onClose, then }: { alert: Alert; onClose: () => void; then?: () => void }) {
  const [note, setNote] = useState("");
  const save = useAction(() => post(`/alerts/${encodeURIComponent(alert.id)}/acknowledge`, { note: note.trim() }).then(then), onClose);
  return (
    <Dialog title={`Acknowledge: ${alert.title}`} onClose={onClose} testid="acknowledge-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          save.run();
        }}
      >
        <div class="dialog-body">
          {save.error && <Failure error={save.error} />}
          <p>Others see that you are on it. It stays here until it resolves by itself.</p>
          <Field label="Note (may stay empty)">
            {(ids) => (
              <input
                {...ids}
                autofocus
                maxLength={500}
                placeholder="what you will do, or know already"
                value={note}
                onInput={(event) => setNote(event.currentTarget.value)}
                data-testid="acknowledge-note"
              />
            )}
          </Field>
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={save.busy} data-testid="acknowledge-submit">
            Acknowledge
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
