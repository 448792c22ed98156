// Telemetry of some devices over the last `rangeMs`, growing as it arrives: the whole range is read once, then only
// what is newer. One read a device and second at most, however many events come.

import { useEffect, useRef, useState } from "preact/hooks";
import { EMPTY, lastMeasured, mergeSeries, trimSeries } from "../plot/series";
import { useThrottled } from "../ui/throttle";
import { type ApiError, get, query } from "./client";
import { onChange } from "./live";
import { asApiError, telemetryDevices } from "./resource";
import type { Series } from "./types";

const PARALLEL = 4; // reads at a time; the server has threads for others too

export interface LiveSeries {
  of: ReadonlyMap<string, Series>;
  loading: boolean;
  error: ApiError | null;
  now: number; // right edge of the charts
}

export function useSeries(
  devices: readonly string[],
  metrics: readonly string[],
  rangeMs: number,
  stepMs: number,
  everyMs = 1000,
): LiveSeries {
  const key = JSON.stringify([devices, metrics, rangeMs, stepMs]);
  const [state, setState] = useState<LiveSeries & { key: string }>({
    of: new Map(),
    loading: devices.length > 0,
    error: null,
    now: Date.now(),
    key,
  });
  const held = useRef(new Map<string, Series>());
  const stale = useRef(new Set<string>());
  const busy = useRef(false);
  const current = useRef(key);
  current.current = key;

  const read = async (names: string[]) => {
    const now = Date.now();
    let error: ApiError | null = null;
    const queue = [...names];
    const work = async () => {
      for (let name = queue.shift(); name !== undefined && current.current === key; name = queue.shift()) {
        const old = held.current.get(name) ?? EMPTY;
        const last = lastMeasured(old);
        // Two steps back: the last step with a value was still filling.
        const from = last === undefined ? now - rangeMs : Math.max(now - rangeMs, last - 2 * stepMs);
        try {
          const path =
            `/telemetry/series` +
            query({ device: name, metric: metrics.join(","), from, to: now + stepMs, step_ms: stepMs });
          const newer = await get<Series>(path);
          if (current.current !== key) return;
          held.current.set(name, trimSeries(mergeSeries(old, newer), now - rangeMs));
        } catch (failed) {
          error = asApiError(failed);
          stale.current.add(name);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, names.length) }, work));
    if (current.current === key) {
      setState({ of: new Map(held.current), loading: false, error, now: Date.now(), key });
    }
  };

  const refresh = useThrottled(() => {
    if (busy.current || stale.current.size === 0) return;
    const names = [...stale.current];
    stale.current.clear();
    busy.current = true;
    void read(names).finally(() => {
      busy.current = false;
    });
  }, everyMs);

  useEffect(() => {
    held.current = new Map();
    stale.current = new Set(devices);
    busy.current = false;
    setState({ of: new Map(), loading: devices.length > 0, error: null, now: Date.now(), key });
    refresh();
    const stop = onChange((change) => {
      const about = change === "missed" ? devices : telemetryDevices(change);
      for (const name of about) if (devices.includes(name)) stale.current.add(name);
      refresh();
    });
    // The charts move on in time even when a device says nothing; and what failed is read again.
    const timer = window.setInterval(() => {
      if (document.visibilityState === "hidden") return;
      refresh();
      setState((old) => ({ ...old, now: Date.now() }));
    }, 5000);
    return () => {
      stop();
      window.clearInterval(timer);
    };
  }, [key]);

  return state.key === key ? state : { of: new Map(), loading: devices.length > 0, error: null, now: Date.now() };
}
