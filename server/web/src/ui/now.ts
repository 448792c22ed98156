import { useEffect, useState } from "preact/hooks";

/** The time, renewed every `everyMs`, for "3 s ago". */
export function useNow(everyMs = 5000): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => set(Date.now()), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return now;
}
