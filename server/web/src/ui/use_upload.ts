import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, type Upload, upload } from "../api/client";
import { asApiError } from "../api/resource";

export interface UploadState {
  sent: number | null; // bytes so far; null when none is under way
  error: ApiError | null;
}

/** One upload at a time; leaving the dialog cancels it. */
export function useUpload<T>(then: (made: T) => void) {
  const [state, setState] = useState<UploadState>({ sent: null, error: null });
  const running = useRef<Upload<T> | null>(null);
  useEffect(() => () => running.current?.cancel(), []);
  const start = (path: string, file: File) => {
    setState({ sent: 0, error: null });
    const current = upload<T>(path, file, (sent) => setState({ sent, error: null }));
    running.current = current;
    current.done.then(
      (made) => {
        running.current = null;
        setState({ sent: null, error: null });
        then(made);
      },
      (failed: unknown) => {
        running.current = null;
        const error = asApiError(failed);
        setState({ sent: null, error: error.code === "cancelled" ? null : error });
      },
    );
  };
  return { ...state, start, cancel: () => running.current?.cancel() };
}
