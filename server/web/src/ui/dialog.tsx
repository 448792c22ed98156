// Dialogs on the native element: focus stays inside, Escape closes, the rest of the page is inert.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import { asApiError } from "../api/resource";
import { Icon } from "./icon";
import { Failure } from "./parts";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
  testid?: string;
}

export function Dialog({ title, onClose, children, wide, testid }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    const opener = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "wide" : ""}
      aria-labelledby={heading}
      data-testid={testid}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" class="ghost" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  children: ComponentChildren;
  verb: string;
  onClose: () => void;
  act: () => Promise<unknown>;
  testid?: string;
}
/** Asks before what cannot be taken back. */
export function Confirm({ title, children, verb, onClose, act, testid }: ConfirmProps) {
  const action = useAction(act, onClose);
  return (
    <Dialog title={title} onClose={onClose}>
      <div class="dialog-body">
        {children}
        {action.error && <Failure error={action.error} />}
      </div>
      <footer>
        <button type="button" onClick={onClose} autofocus>
          Cancel
        </button>
        <button type="button" class="danger" disabled={action.busy} onClick={action.run} data-testid={testid}>
          {verb}
        </button>
      </footer>
    </Dialog>
  );
}

/** A write: busy while it runs, its error kept, `then` called when it went well. */
export function useAction(act: () => Promise<unknown>, then?: () => void) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const run = () => {
    setBusy(true);
    setError(null);
    act()
      .then(
        () => then?.(),
        (failed: unknown) => setError(asApiError(failed)),
      )
      .finally(() => setBusy(false));
  };
  return { busy, error, run, clear: () => setError(null) };
}
