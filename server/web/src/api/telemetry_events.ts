// What an event of kind telemetry says: at most one a second comes, with up to 200 names and the count of all.

import type { Change } from "./types";

/** The devices a telemetry event is about. */
export function telemetryDevices(change: Change): string[] {
  if (change.kind !== "telemetry") return [];
  const devices = change.data["devices"];
  return Array.isArray(devices) ? devices.filter((name): name is string => typeof name === "string") : [];
}

/** Whether a telemetry event may be about a device: of a large fleet it names only some and counts the rest. */
export function telemetryMayBeOf(change: Change, device: string): boolean {
  if (change.kind !== "telemetry") return false;
  const named = telemetryDevices(change);
  const count = change.data["count"];
  return named.includes(device) || (typeof count === "number" && count > named.length);
}
