// Calls that come too fast become one call at the end of the interval.

import { useEffect, useMemo, useRef } from "preact/hooks";

export interface Clock {
  now: () => number;
  later: (call: () => void, ms: number) => number;
  forget: (timer: number) => void;
}

const wallClock: Clock = {
  now: () => Date.now(),
  later: (call, ms) => window.setTimeout(call, ms),
  forget: (timer) => window.clearTimeout(timer),
};

/** The first call runs at once; later ones at most every `ms`, and the last one always runs. */
export function throttle(call: () => void, ms: number, clock: Clock = wallClock): { (): void; cancel: () => void } {
  let ranAt = -Infinity;
  let timer: number | undefined;
  const run = () => {
    timer = undefined;
    ranAt = clock.now();
    call();
  };
  const throttled = () => {
    if (timer !== undefined) return;
    const wait = ranAt + ms - clock.now();
    if (wait <= 0) run();
    else timer = clock.later(run, wait);
  };
  throttled.cancel = () => {
    if (timer !== undefined) clock.forget(timer);
    timer = undefined;
  };
  return throttled;
}

/** A throttled function of stable identity that always calls the newest `call`. */
export function useThrottled(call: () => void, ms: number): () => void {
  const newest = useRef(call);
  newest.current = call;
  const throttled = useMemo(() => throttle(() => newest.current(), ms), [ms]);
  useEffect(() => () => throttled.cancel(), [throttled]);
  return throttled;
}
