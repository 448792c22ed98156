import { expect, test } from "vitest";
import type { AlertDetail, Member } from "../api/alerts";
import type { Catalogue } from "../api/telemetry";
import { alertQuestion } from "./alert_question";

const catalogue = {
  metrics: [{ name: "errors", unit: "", title: "Errors", aggregates: ["rate", "ratio", "sum"], aggregate: "ratio", kind: "count" }],
  histograms: [{ name: "latency_us", unit: "us", title: "Latency", aggregates: ["p95"], aggregate: "p95" }],
} as unknown as Catalogue;
const HOUR = 3_600_000;
const member = (device: string, value: number): Member => ({ subject: `device:${device}`, device, state: "firing", since: 0, began_at: 0, value, sentence: "" });
const alert = (change: Partial<AlertDetail>): AlertDetail =>
  ({ metric: "latency_us", aggregate: "p95", first_subject: "device:pi-1", members: [], direction: "above", opened_at: 10 * HOUR, resolved_at: null, ...change }) as AlertDetail;

test("the gravest devices are asked about, around the time of the alert", () => {
  const members = Array.from({ length: 20 }, (_, i) => member(`pi-${i}`, i));
  const found = alertQuestion(alert({ members }), catalogue, 11 * HOUR)!;
  expect(found).toMatchObject({ metric: "latency_us", aggregate: "p95", groupBy: "device", to: 11 * HOUR });
  expect(found.where).toBe("name in (pi-19, pi-18, pi-17, pi-16, pi-15, pi-14, pi-13, pi-12)");
  expect(found.from).toBeLessThan(10 * HOUR - 19 * 60_000);
});

test("where less is worse, the least are the gravest", () => {
  const found = alertQuestion(alert({ members: [member("a", 5), member("b", 1)], direction: "below" }), catalogue, 11 * HOUR)!;
  expect(found.where).toBe("name in (b, a)");
});

test("an alert that is over asks about who it began with", () => {
  const found = alertQuestion(alert({ resolved_at: 11 * HOUR }), catalogue, 99 * HOUR)!;
  expect(found.where).toBe("name = pi-1");
  expect(found.to).toBeLessThan(12 * HOUR);
});

test("groups are asked about as groups", () => {
  expect(alertQuestion(alert({ first_subject: "profile:x" }), catalogue, 11 * HOUR)).toMatchObject({ where: "profile = x", groupBy: "none" });
  expect(alertQuestion(alert({ first_subject: "artifact:ab" }), catalogue, 11 * HOUR)).toMatchObject({ artifact: "ab", where: "" });
  expect(alertQuestion(alert({ first_subject: "fleet:", metric: "errors", aggregate: "per_s" }), catalogue, 11 * HOUR)).toMatchObject({ aggregate: "rate" });
});

test("absence and the server have no measure", () => {
  expect(alertQuestion(alert({ metric: "" }), catalogue, 11 * HOUR)).toBeNull();
  expect(alertQuestion(alert({ metric: "store_disk_free" }), catalogue, 11 * HOUR)).toBeNull();
});
