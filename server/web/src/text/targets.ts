// Whom a push or a rollout is for: whole profiles, or devices by name.

import type { Device } from "../api/types";

export interface Targets {
  devices?: string[];
  profiles?: string[];
}

/** Devices a push can reach: the enrolled ones. An offline one gets it when it comes back. */
export const reachable = (devices: readonly Device[]) =>
  devices.filter((device) => device.status === "online" || device.status === "offline");

export interface Ticks {
  profiles: ReadonlySet<string>; // ticked as a whole
  devices: ReadonlySet<string>; // ticked one by one
}

export const isTicked = (ticks: Ticks, device: Device) =>
  ticks.profiles.has(device.profile) || ticks.devices.has(device.name);

/** Tick or untick one device; taking one out of a ticked profile leaves the others ticked one by one. */
export function toggleDevice(ticks: Ticks, device: Device, all: readonly Device[]): Ticks {
  const profiles = new Set(ticks.profiles);
  const devices = new Set(ticks.devices);
  if (profiles.delete(device.profile)) {
    for (const other of reachable(all)) if (other.profile === device.profile) devices.add(other.name);
    devices.delete(device.name);
  } else if (!devices.delete(device.name)) devices.add(device.name);
  return { profiles, devices };
}

export function toggleProfile(ticks: Ticks, profile: string, all: readonly Device[]): Ticks {
  const profiles = new Set(ticks.profiles);
  const devices = new Set(ticks.devices);
  if (!profiles.delete(profile)) profiles.add(profile);
  for (const device of all) if (device.profile === profile) devices.delete(device.name);
  return { profiles, devices };
}

/** What the API is told; null when nothing is ticked. It takes profiles or devices, so a mix is named one by one. */
export function pushTargets(ticks: Ticks, all: readonly Device[]): Targets | null {
  if (ticks.devices.size === 0 && ticks.profiles.size > 0) return { profiles: [...ticks.profiles].sort() };
  const devices = reachable(all)
    .filter((device) => isTicked(ticks, device))
    .map((device) => device.name);
  return devices.length === 0 ? null : { devices };
}
