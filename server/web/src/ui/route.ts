// The one place that reads and changes the address.

import { useEffect, useState } from "preact/hooks";

const listeners = new Set<() => void>();
const changed = () => listeners.forEach((listener) => listener());
window.addEventListener("popstate", changed);

let moved = false;
/** Whether the page has changed within the application; the first one is the browser's to announce. */
export const hasMoved = () => moved;

export function navigate(to: string, how: "push" | "replace" = "push"): void {
  if (to === location.pathname + location.search) return;
  moved = true;
  if (how === "push") history.pushState(null, "", to);
  else history.replaceState(null, "", to);
  changed();
}

export interface Place {
  path: string;
  search: string;
}

export function usePlace(): Place {
  const [place, setPlace] = useState<Place>({ path: location.pathname, search: location.search });
  useEffect(() => {
    const read = () => setPlace({ path: location.pathname, search: location.search });
    listeners.add(read);
    return () => void listeners.delete(read);
  }, []);
  return place;
}

/** Values kept in the address's query, so that a reload and a shared link show the same. */
export function useQuery(): [URLSearchParams, (change: Record<string, string | null>) => void] {
  const { search } = usePlace();
  return [
    new URLSearchParams(search),
    (change) => {
      const next = new URLSearchParams(location.search);
      for (const [key, value] of Object.entries(change)) {
        if (value === null) next.delete(key);
        else next.set(key, value);
      }
      const text = next.toString();
      navigate(location.pathname + (text ? "?" + text : ""), "replace");
    },
  ];
}
