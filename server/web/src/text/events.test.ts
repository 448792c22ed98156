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

it("a measurement and what a profile learned from it are told", () => {
  const asked = change("profiling", "queued", { device: "pi-4", what: "device" });
  expect(eventWords(asked)).toEqual({ subject: "pi-4", href: "/devices/pi-4", text: "is asked to measure itself" });
  expect(eventWords(change("profiling", "sent", { device: "pi-4", what: "device" }))).toBeNull();
  const failed = change("profiling", "failed", { device: "pi-4", what: "model", message: "It was off." });
  expect(eventWords(failed)?.text).toBe("could not measure what it runs: It was off.");
  const learned = change("profile", "calibrated", { message: "Calibrated: prediction error 38 % -> 9 %." });
  expect(eventWords(learned)).toEqual({
    subject: "s",
    href: "/profiles/s",
    text: "has learned from its devices. Calibrated: prediction error 38 % -> 9 %.",
  });
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

const about = { model: "lenet", profile: "pi" };

it("tells what is missed in its own sentence, and leads to its page", () => {
  expect(eventWords(change("finding", "missed", { ...about, message: "The p95 is 41 ms" }))).toMatchObject({
    subject: "A budget",
    text: "is missed: The p95 is 41 ms",
  });
  expect(eventWords(change("finding", "missed", about))?.href).toMatch(/^\/findings\//);
});

it("leaves the steps of a finding to its page", () => {
  for (const action of ["state", "profiling", "calibrated", "found"]) {
    expect(eventWords(change("finding", action, about))).toBeNull();
  }
});

it("says what a budget asks", () => {
  expect(eventWords(change("budget", "set", { profile: "pi", words: "p95 20 ms" }))?.text).toBe("has a budget on pi: p95 20 ms");
  expect(eventWords(change("budget", "cleared", { profile: "pi" }))?.text).toBe("has no budget on pi any more");
});

it("groups, rules of downloads and keys are told with where they are", () => {
  expect(eventWords(change("server", "group", { query: "online" }))).toEqual({ subject: "The group s", href: "/groups", text: "is: online" });
  expect(eventWords({ ...change("server", "delivery_rules"), subject: "fleet" })?.href).toBe("/settings");
  expect(eventWords(change("device", "delivery_rules"))?.text).toBe("fetches by other rules");
  expect(eventWords(change("rollout", "wave", { wave: 1 }))).toBeNull();
});

it("an alert is told when it comes and goes, and who said what is watched", () => {
  const opened = change("alert", "opened", { title: "Board is hot", message: "pi-4: temperature 91 °C" });
  expect(eventWords(opened)).toEqual({ subject: "Board is hot", href: "/alerts/s", text: "fires: pi-4: temperature 91 °C" });
  expect(eventWords(change("alert", "resolved", { title: "Board is hot" }))?.text).toBe("is over");
  expect(eventWords(change("alert", "grew", { title: "Board is hot" }))).toBeNull();
  expect(eventWords(change("alert", "channel_sent"))).toBeNull();
  expect(eventWords(change("alert", "rule_set", { enabled: true }))).toMatchObject({ subject: "The alert rule s", href: "/alerts/rules" });
  expect(eventWords(change("alert", "silenced", { reason: "work" }))?.text).toBe("are silenced: work");
});
