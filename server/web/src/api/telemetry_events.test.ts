import { expect, it } from "vitest";
import { telemetryMayBeOf } from "./telemetry_events";

const event = (data: Record<string, unknown>, kind = "telemetry") => ({ id: 1, at: 0, kind, subject: "", action: "", data });

it("a telemetry event may be of a device that it names, or of one that it only counts", () => {
  expect(telemetryMayBeOf(event({ devices: ["a", "b"], count: 2 }), "b")).toBe(true);
  expect(telemetryMayBeOf(event({ devices: ["a", "b"], count: 2 }), "c")).toBe(false);
  expect(telemetryMayBeOf(event({ devices: ["a", "b"], count: 900 }), "c")).toBe(true);
  expect(telemetryMayBeOf(event({ devices: ["a"] }), "c")).toBe(false);
  expect(telemetryMayBeOf(event({ devices: ["a"], count: 9 }, "device"), "a")).toBe(false);
});
