// What would be, asked while somebody types: which devices a query fits, what a rollout would do.

import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, post } from "./client";
import { asApiError } from "./resource";

const PAUSE_MS = 350; // of typing

export interface Asked<T> {
  value: T | null;
  error: ApiError | null;
  busy: boolean;
}

/** The answer to a POST that changes nothing, asked anew whenever `body` changes; null: do not ask. */
export function usePreview<T>(path: string, body: unknown): Asked<T> {
  const text = body === null ? null : JSON.stringify(body);
  const [held, setHeld] = useState<Asked<T>>({ value: null, error: null, busy: false });
  const newest = useRef(0);
  useEffect(() => {
    const attempt = ++newest.current;
    if (text === null) {
      setHeld({ value: null, error: null, busy: false });
      return;
    }
    setHeld((old) => ({ ...old, busy: true }));
    const timer = window.setTimeout(() => {
      post<T>(path, JSON.parse(text)).then(
        (value) => attempt === newest.current && setHeld({ value, error: null, busy: false }),
        (error: unknown) => attempt === newest.current && setHeld({ value: null, error: asApiError(error), busy: false }),
      );
    }, PAUSE_MS);
    return () => window.clearTimeout(timer);
  }, [path, text]);
  return held;
}
