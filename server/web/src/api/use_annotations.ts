// What happened in the time that charts show, for all charts of a page together.

import { useMemo, useRef } from "preact/hooks";
import type { Annotation } from "../plot/annotations";
import { annotationsOf } from "../text/happenings";
import { usePlace } from "../ui/route";
import { query } from "./client";
import { useResource } from "./resource";
import type { Happenings } from "./telemetry";
import type { Change } from "./types";

export interface About {
  device?: string | null;
  model?: string | null;
  profile?: string | null;
}

const KINDS = new Set(["release", "rollout", "alert", "finding", "device"]);
const GRID_MS = 60_000; // the range is asked for in whole minutes, so that a moving one is not asked for each second

/** Annotations between `now - rangeMs` and `now`; none while they load or where they cannot be read. */
export function useAnnotations(rangeMs: number, now: number, { device, model, profile }: About = {}): readonly Annotation[] {
  const { path } = usePlace();
  const from = Math.floor((now - rangeMs) / GRID_MS) * GRID_MS;
  const to = Math.ceil(now / GRID_MS) * GRID_MS;
  const found = useKept(
    useResource<Happenings>("/telemetry/annotations" + query({ from, to, device, model, profile }), {
      on: (change: Change) => KINDS.has(change.kind) && change.action !== "changed",
      everyMs: 10_000,
    }).value,
  );
  return useMemo(() => annotationsOf(found?.annotations ?? [], path), [found, path]);
}

/** The last value there was, while a newer one is on its way. */
export function useKept<T>(value: T | undefined): T | undefined {
  const held = useRef<T | undefined>(undefined);
  if (value !== undefined) held.current = value;
  return held.current;
}
