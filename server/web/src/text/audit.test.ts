import { expect, test } from "vitest";
import type { AuditEntry } from "../api/people";
import { actionWords, sentWords } from "./audit";

const entry = (data: Record<string, unknown>): AuditEntry => ({
  number: 1,
  at: 0,
  action: "register_device",
  subject: "pi-1",
  actor: "ada",
  source: "10.0.0.4, session",
  data,
  hash: "",
});

test.each([
  ["create_rollout", "created rollout"],
  ["sign_in_failed", "failed to sign in"],
  ["keys.rotate", "keys rotate"],
  ["something_new", "something new"],
])("%s reads %s", (action, words) => expect(actionWords(action)).toBe(words));

test("what was sent is told without the subject again, and without what is absent", () => {
  const sent = { name: "pi-1", profile: "raspberry-pi-4", labels: { site: "h3" }, note: null };
  expect(sentWords(entry({ request: "POST /x", status: 201, sent }))).toBe("profile raspberry-pi-4, labels site=h3");
});

test("rows that no request made tell all their data", () => {
  expect(sentWords(entry({ role: "release", threshold: 2 }))).toBe("role release, threshold 2");
});

test("what came of it is told beside what was sent", () => {
  expect(sentWords(entry({ request: "POST /x", status: 201, sent: { replace: false }, made: ["a", "b"] }))).toBe("made a b");
});
