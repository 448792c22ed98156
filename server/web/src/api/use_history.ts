// Telemetry of one device in a range: read once, and while the range still moves, only what is newer.

import { useEffect, useRef, useState } from "preact/hooks";
import { EMPTY, lastMeasured, mergeSeries, trimSeries } from "../plot/series";
import { everyOf, type Range, stepOf } from "../text/range";
import { useThrottled } from "../ui/throttle";
import { type ApiError, get, query } from "./client";
import { onChange } from "./live";
import { asApiError } from "./resource";
import { telemetryMayBeOf } from "./telemetry_events";
import type { Series } from "./types";

export interface History {
  series: Series | undefined; // undefined: nothing was read yet
  error: ApiError | null;
  stepMs: number;
  to: number; // right edge of the charts, Unix ms
  rangeMs: number;
  busy: boolean; // a first answer of this range is on its way
}

interface Held {
  key: string;
  series: Series | undefined;
  error: ApiError | null;
  to: number;
}

/** `range` is as the address says; of a live one only its length counts here. */
export function useHistory(device: string, metrics: readonly string[], range: Range): History {
  const rangeMs = range.to - range.from;
  const askedMs = stepOf(range.from, range.to);
  const key = range.live ? `${device} ${range.key}` : `${device} ${range.from} ${range.to}`;
  const [held, setHeld] = useState<Held>({ key, series: undefined, error: null, to: range.to });
  const whole = useRef<{ key: string; series: Series } | null>(null); // the newest whole answer and what came behind it
  const reading = useRef<AbortController | null>(null);

  const read = async () => {
    if (reading.current) return; // the next look asks for what this one misses
    const control = new AbortController();
    reading.current = control;
    const to = range.live ? Date.now() : range.to;
    const start = to - rangeMs;
    const mine = whole.current?.key === key ? whole.current.series : EMPTY;
    const stepMs = mine.step_ms ?? askedMs;
    const last = lastMeasured(mine);
    // Two steps back: the last step with a value was still filling.
    const from = last === undefined ? start : Math.max(start, last - 2 * stepMs);
    try {
      const path = "/telemetry/series" + query({ device, metric: metrics.join(","), from, to: to + (range.live ? stepMs : 0), step_ms: stepMs });
      const newer = await get<Series>(path, control.signal);
      const series = { ...trimSeries(mergeSeries(mine, newer), start), step_ms: newer.step_ms ?? stepMs };
      whole.current = { key, series };
      setHeld({ key, series, error: null, to });
    } catch (failed) {
      if (control.signal.aborted) return;
      const error = asApiError(failed);
      setHeld((old) => ({ key, series: old.key === key ? old.series : undefined, error, to }));
    } finally {
      if (reading.current === control) reading.current = null;
    }
  };

  const readSoon = useThrottled(() => void read(), range.live ? everyOf(askedMs) : 1000);
  useEffect(() => {
    void read();
    const stop = range.live
      ? onChange((change) => {
          if (change === "missed" || telemetryMayBeOf(change, device)) readSoon();
        })
      : () => undefined;
    // Charts move on in time even when the device says nothing; and what failed is read again.
    const timer = range.live ? window.setInterval(() => document.visibilityState !== "hidden" && readSoon(), 5000) : undefined;
    return () => {
      stop();
      window.clearInterval(timer);
      reading.current?.abort();
      reading.current = null;
    };
  }, [key]);

  const mine = held.key === key;
  return {
    series: mine ? held.series : undefined,
    error: mine ? held.error : null,
    stepMs: (mine ? held.series?.step_ms : undefined) ?? askedMs,
    to: mine ? held.to : range.to,
    rangeMs,
    busy: !mine || (held.series === undefined && held.error === null),
  };
}
