// Events as a line of the activity list; null for those that are only there to keep pages live.

import type { Change } from "../api/types";

export interface EventWords {
  subject: string;
  href: string | null;
  text: string;
}

const HREF: Record<string, (subject: string) => string | null> = {
  device: (name) => `/devices/${encodeURIComponent(name)}`,
  model: (name) => `/models/${encodeURIComponent(name)}`,
  rollout: (id) => `/rollouts/${encodeURIComponent(id)}`,
  job: () => "/jobs",
  push: (id) => `/push/${encodeURIComponent(id)}`,
};
// Progress and samples come many times a second; the pages they concern show them.
const QUIET = new Set(["progress", "batch", "want", "published"]);
const KIND: Record<string, string> = {
  job: "A compression job",
  rollout: "A rollout",
  release: "A release",
  artifact: "An artifact",
  push: "A push",
  server: "The server",
};

export function eventWords(change: Change): EventWords | null {
  if (change.kind === "telemetry" || QUIET.has(change.action)) return null;
  const state = change.data["state"] ?? change.data["status"];
  const text =
    change.action === "state"
      ? typeof state === "string"
        ? `is now ${state.replaceAll("_", " ")}`
        : null
      : change.action.replaceAll("_", " ");
  if (text === null) return null;
  const named = change.kind === "device" || change.kind === "model" || change.kind === "dataset";
  return {
    subject: named ? change.subject : (KIND[change.kind] ?? change.subject),
    href: HREF[change.kind]?.(change.subject) ?? null,
    text,
  };
}
