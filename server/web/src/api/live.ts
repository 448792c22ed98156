// Server-sent events, shared by the whole page: one connection, many listeners.
//
//   closed --start--> connecting --open--> open --error--> connecting (the browser retries, with Last-Event-ID)
//   any --page hidden--> closed; --page visible--> connecting, and every listener is told to read anew.
//
// A hidden tab holds no connection: browsers give one host six, and SSE would eat one a tab.

import { useEffect, useState } from "preact/hooks";
import type { Change } from "./types";

export type LiveState = "closed" | "connecting" | "open";
type Listener = (change: Change | "missed") => void;

const listeners = new Set<Listener>();
const stateListeners = new Set<(state: LiveState) => void>();
let source: EventSource | null = null;
let state: LiveState = "closed";
let wanted = false;
let retry: number | undefined;
let opened = 0; // connections opened so far; from the second on, something may have been missed

function setState(next: LiveState): void {
  state = next;
  for (const listener of stateListeners) listener(next);
}

function tell(change: Change | "missed"): void {
  for (const listener of [...listeners]) listener(change);
}

function connect(): void {
  if (source || !wanted || document.visibilityState === "hidden") return;
  setState("connecting");
  source = new EventSource("/api/v1/events/stream");
  source.onopen = () => {
    setState("open");
    if (opened++ > 0) tell("missed");
  };
  source.addEventListener("change", (event) => {
    try {
      tell(JSON.parse((event as MessageEvent<string>).data) as Change);
    } catch {
      tell("missed"); // not readable: read everything anew instead
    }
  });
  source.addEventListener("missed", () => tell("missed")); // too far behind: the server sends no backlog
  source.onerror = () => {
    setState("connecting");
    if (source?.readyState !== EventSource.CLOSED) return; // the browser retries by itself
    disconnect(); // it gave up (an error status): try again, the server may just be starting
    retry = window.setTimeout(connect, 3000);
  };
}

function disconnect(): void {
  window.clearTimeout(retry);
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") connect();
  else {
    disconnect();
    setState("closed");
  }
});

export function startLive(): void {
  wanted = true;
  connect();
}

export function stopLive(): void {
  wanted = false;
  disconnect();
  setState("closed");
}

export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useLiveState(): LiveState {
  const [now, set] = useState(state);
  useEffect(() => {
    set(state);
    stateListeners.add(set);
    return () => void stateListeners.delete(set);
  }, []);
  return now;
}
