import { describe, expect, it } from "vitest";
import type { Change } from "../api/types";
import { grouped } from "./activity";

let id = 0;
const event = (subject: string, at: number, data: Record<string, unknown>, kind = "device"): Change => ({
  id: ++id,
  at,
  kind,
  subject,
  action: "state",
  actor: null,
  data,
});
const OFF = { online: false };

describe("activity", () => {
  it("says once what happens to many devices", () => {
    const many = Array.from({ length: 200 }, (_, n) => event(`pi-${n}`, n * 100, OFF));
    const lines = grouped(many);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ others: 199, words: { subject: "pi-199", text: "went offline" } });
  });
  it("counts a device once", () => {
    expect(grouped([event("a", 0, OFF), event("a", 10, OFF)])[0]!.others).toBe(0);
  });
  it("keeps apart what lies far apart, and different things", () => {
    const lines = grouped([event("a", 0, OFF), event("b", 3_600_000, OFF), event("c", 3_600_000, { step: "failed" })]);
    expect(lines.map((line) => [line.words.subject, line.others])).toEqual([
      ["c", 0],
      ["b", 0],
      ["a", 0],
    ]);
  });
  it("names each rollout by itself", () => {
    const done = { state: "done", model: "kws" };
    expect(grouped([event("r1", 0, done, "rollout"), event("r2", 1, done, "rollout")])).toHaveLength(2);
  });
});
