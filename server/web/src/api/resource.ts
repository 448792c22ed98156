// A value read from the API that stays fresh: read at once, read again when a matching event comes.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "./client";
import { onChange } from "./live";
import type { Change } from "./types";
import { useThrottled } from "../ui/throttle";

export interface Resource<T> {
  value: T | undefined; // the last good answer; stays while a newer one is on its way or failed
  error: ApiError | null; // of the newest attempt
  loading: boolean; // nothing to show yet
  reload: () => void;
}

export interface Freshness {
  on?: (change: Change) => boolean; // which events make the value stale
  everyMs?: number; // at most one read in this time
  pollMs?: number; // read again anyway, for what no event tells
}

const RETRY_MS = 4000; // after a failure, e.g. while the server restarts

/** `path` null: nothing to read yet. */
export function useResource<T>(path: string | null, freshness: Freshness = {}): Resource<T> {
  const [held, setHeld] = useState<{ path: string | null; value: T | undefined; error: ApiError | null }>({
    path,
    value: undefined,
    error: null,
  });
  const newest = useRef(0);
  const retry = useRef<number | undefined>(undefined);

  const read = useCallback(() => {
    if (path === null) return;
    const attempt = ++newest.current;
    window.clearTimeout(retry.current);
    get<T>(path).then(
      (value) => {
        if (attempt === newest.current) setHeld({ path, value, error: null });
      },
      (error: unknown) => {
        if (attempt !== newest.current) return;
        const said = asApiError(error);
        setHeld((old) => ({ path, value: old.path === path ? old.value : undefined, error: said }));
        if (said.status === 0 || said.status >= 500) retry.current = window.setTimeout(read, RETRY_MS);
      },
    );
  }, [path]);

  const readSoon = useThrottled(read, freshness.everyMs ?? 300);
  const on = useRef(freshness.on);
  on.current = freshness.on;

  useEffect(() => {
    read();
    return () => {
      newest.current++; // an answer on its way is for nobody
      window.clearTimeout(retry.current);
    };
  }, [read]);

  useEffect(
    () =>
      onChange((change) => {
        if (change === "missed" || on.current?.(change)) readSoon();
      }),
    [readSoon],
  );

  useEffect(() => {
    if (!freshness.pollMs) return;
    const timer = window.setInterval(() => {
      if (document.visibilityState === "visible") readSoon();
    }, freshness.pollMs);
    return () => window.clearInterval(timer);
  }, [freshness.pollMs, readSoon]);

  const mine = held.path === path;
  const value = mine ? held.value : undefined;
  const error = mine ? held.error : null;
  return { value, error, loading: value === undefined && error === null, reload: read };
}

export function asApiError(error: unknown): ApiError {
  return error instanceof ApiError
    ? error
    : new ApiError(0, "broken", `This page could not read the answer: ${String(error)}. Reload it.`);
}

/** Which events concern a subject: `touches("rollout", id)`; without a subject, all of the kind. */
export function touches(kind: string, subject?: string): (change: Change) => boolean {
  return (change) => change.kind === kind && (subject === undefined || change.subject === subject);
}

export { telemetryDevices } from "./telemetry_events";
