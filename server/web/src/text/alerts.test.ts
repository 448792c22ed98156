import { expect, test } from "vitest";
import type { Firing, Transition } from "../api/alerts";
import { alertWord, badgeTone, firingTimes, lastedWords, subjectWords, valueWords, wanting } from "./alerts";

const firing: Firing = { critical: 1, warning: 3, info: 0, acknowledged: 1, silenced: 1, flapping: 0 };
const alert = { state: "firing", severity: "critical", silenced: false, acknowledged_by: null, flapping: false } as const;

test("what somebody took care of does not call for somebody", () => {
  expect(wanting(firing)).toBe(2);
  expect(wanting({ ...firing, acknowledged: 9 })).toBe(0);
  expect(alertWord({ ...alert, acknowledged_by: "ada" })).toEqual({ text: "acknowledged", tone: "idle" });
  expect(alertWord({ ...alert, silenced: true }).text).toBe("silenced");
  expect(alertWord({ ...alert, state: "resolved", silenced: true }).text).toBe("resolved");
  expect(alertWord(alert)).toEqual({ text: "critical", tone: "bad" });
});

test("the badge wears the gravest severity", () => {
  expect(badgeTone(firing)).toBe("bad");
  expect(badgeTone({ ...firing, critical: 0 })).toBe("warn");
  expect(badgeTone({ ...firing, critical: 0, warning: 0, info: 2 })).toBe("busy");
});

test.each([
  ["device:pi-17", "pi-17"],
  ["profile:raspberry-pi-4", "profile raspberry-pi-4"],
  ["artifact:0123456789abcdef", "artifact 0123456789"],
  ["fleet:", "the fleet"],
  ["device:a:b", "a:b"],
])("%s is %s", (subject, words) => expect(subjectWords(subject)).toBe(words));

test.each([
  [0.05, "", "ratio", "5.0 %"],
  [1.5, "times", "", "1.5 times"],
  [900, "s", "", "15 min"],
  [5e8, "B", "min", "500 MB"],
  [30_000, "µs", "p95", "30 ms"],
  [0.25, "", "max", "0.25"],
  [4, "1/h", "", "4 1/h"],
] as const)("%d of unit %s as %s is %s", (value, unit, aggregate, words) => expect(valueWords(value, unit, aggregate)).toBe(words));

test("an alert says for how long, and one that is over how long it lasted", () => {
  expect(lastedWords({ opened_at: 0, since: 60_000, resolved_at: null }, 180_000)).toBe("for 2 min");
  expect(lastedWords({ opened_at: 0, since: 60_000, resolved_at: 3_600_000 }, 9e9)).toBe("lasted 1 h");
});

const step = (id: number, at: number, what: string, subject = ""): Transition => ({ id, at, what, subject, rule: "r", alert: "a", value: null, fire_at: null, sentence: "", actor: null });

test("an alert that came again fired twice; what single devices did does not count", () => {
  const timeline = [step(5, 90, "reopened"), step(4, 60, "resolved"), step(3, 50, "resolved", "device:a"), step(1, 10, "opened"), step(2, 10, "fired", "device:a"), step(6, 90, "opened")];
  expect(firingTimes({ since: 90, resolved_at: null, timeline })).toEqual([
    { from: 10, to: 60 },
    { from: 90, to: null },
  ]);
});

test("where the beginning of the story is gone, its last time is what is left", () => {
  expect(firingTimes({ since: 70, resolved_at: 99, timeline: [step(9, 99, "resolved")] })).toEqual([{ from: 70, to: 99 }]);
});
