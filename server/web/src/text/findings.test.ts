import { describe, expect, test } from "vitest";
import type { Finding } from "../api/findings";
import { chartOf, figure, sentence, stepHref, stepWord } from "./findings";

const finding = (change: Partial<Finding>) =>
  ({ kind: "latency", limit: 20_000, measured: 41_000, predicted_us: null, ...change }) as Finding;

describe("a finding's chart", () => {
  test("draws what its kind is about, with its limit", () => {
    expect(chartOf(finding({})).metric).toBe("latency_p95_us");
    expect(chartOf(finding({ kind: "memory", limit: 64e6 }))).toMatchObject({ metric: "rss_bytes", limit: 64e6 });
    expect(chartOf(finding({ kind: "energy", limit: 5 })).metric).toBe("energy_mj");
  });

  test("of a prediction has its line on the side where it is missed", () => {
    const slow = finding({ kind: "prediction", predicted_us: 10_000, limit: 0.5, measured: 2 });
    expect(chartOf(slow).limit).toBe(15_000);
    expect(chartOf({ ...slow, measured: 0.4 }).limit).toBeCloseTo(6667, 0);
  });
});

test("figures have their units", () => {
  expect(figure("latency", 41_000)).toBe("41 ms");
  expect(figure("memory", 64e6)).toBe("64 MB");
  expect(figure("prediction", 2.4)).toBe("2.4 × predicted");
});

test("steps lead to what they are about, and nowhere else", () => {
  expect(stepHref("search", "5f2")).toBe("/searches/5f2");
  expect(stepHref("rollout", "a b")).toBe("/rollouts/a%20b");
  expect(stepHref("moon", "1")).toBeNull();
  expect(stepHref(null, null)).toBeNull();
});

test("a step that this page does not know yet says its own name", () => {
  expect(stepWord("missed")).toEqual({ text: "Budget missed", tone: "bad" });
  expect(stepWord("sent_back")).toEqual({ text: "sent back", tone: "idle" });
});

test("a sentence gets one full stop", () => {
  expect(sentence("It is slow")).toBe("It is slow.");
  expect(sentence("It is slow.")).toBe("It is slow.");
  expect(sentence("")).toBe("");
});
