// Telemetry of some devices between two moments; read again now and then while the window still moves.

import { useEffect, useState } from "preact/hooks";
import { type ApiError, get, query } from "./client";
import { asApiError } from "./resource";
import type { Series } from "./types";

const AGAIN_MS = 5000;

export interface WindowSeries {
  of: ReadonlyMap<string, Series>;
  loading: boolean;
  error: ApiError | null;
}

/** `to` null: until now, growing. */
export function useWindow(
  devices: readonly string[],
  metric: string,
  from: number,
  to: number | null,
  stepMs: number,
): WindowSeries {
  const key = JSON.stringify([devices, metric, from, to, stepMs]);
  const [state, setState] = useState<WindowSeries>({ of: new Map(), loading: true, error: null });
  useEffect(() => {
    let over = false;
    const read = async () => {
      try {
        const found = await Promise.all(
          devices.map(async (device) => {
            const asked = { device, metric, from, to: to ?? Date.now() + stepMs, step_ms: stepMs };
            return [device, await get<Series>("/telemetry/series" + query(asked))] as const;
          }),
        );
        if (!over) setState({ of: new Map(found), loading: false, error: null });
      } catch (failed) {
        if (!over) setState((old) => ({ of: old.of, loading: false, error: asApiError(failed) }));
      }
    };
    void read();
    const timer =
      to === null ? window.setInterval(() => document.visibilityState !== "hidden" && void read(), AGAIN_MS) : undefined;
    return () => {
      over = true;
      window.clearInterval(timer);
    };
  }, [key]);
  return state;
}
