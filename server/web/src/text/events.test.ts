import { expect, it } from "vitest";
import type { Change } from "../api/types";
import { eventWords } from "./events";

const change = (kind: string, action: string, data: Record<string, unknown> = {}): Change => ({
  id: 1,
  at: 0,
  kind,
  subject: "s",
  action,
  data,
});

it.each([
  [change("telemetry", "batch", { devices: ["a"] })],
  [change("job", "progress", { progress: 0.5 })],
  [change("rollout", "progress")],
  [change("person", "signed_in")],
  [change("device", "state", { online: true, step: "fetching" })],
])("what only keeps pages live is no activity: %o", (event) => {
  expect(eventWords(event)).toBeNull();
});

it("devices, rollouts and jobs are told in words, with a link where there is a page", () => {
  expect(eventWords(change("device", "registered"))).toEqual({ subject: "s", href: "/devices/s", text: "was registered" });
  expect(eventWords(change("device", "state", { online: false }))?.text).toBe("went offline");
  expect(eventWords(change("device", "state", { online: true, step: "rejected" }))?.text).toBe("rejected a model");
  expect(eventWords(change("rollout", "state", { state: "paused", reason: "one failed" }))).toEqual({
    subject: "A rollout",
    href: "/rollouts/s",
    text: "is paused: one failed",
  });
  expect(eventWords(change("job", "failed", { model: "m" }))).toEqual({
    subject: "A compression job of m",
    href: "/jobs",
    text: "failed",
  });
});
