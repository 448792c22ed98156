import { describe, expect, it } from "vitest";
import type { Device, DeviceStatus } from "../api/types";
import { isTicked, pushTargets, reachable, type Ticks, toggleDevice, toggleProfile } from "./targets";

const device = (name: string, profile: string, status: DeviceStatus = "online") => ({ name, profile, status }) as Device;
const a1 = device("a1", "pi-4");
const a2 = device("a2", "pi-4", "offline");
const b1 = device("b1", "x86-pc");
const fleet = [a1, a2, b1, device("new", "pi-4", "registered"), device("gone", "pi-4", "revoked")];
const nothing: Ticks = { profiles: new Set(), devices: new Set() };

describe("whom a push is for", () => {
  it("only enrolled devices can take a model; offline ones can", () => {
    expect(reachable(fleet)).toEqual([a1, a2, b1]);
  });
  it("nothing ticked is no target", () => {
    expect(pushTargets(nothing, fleet)).toBeNull();
  });
  it("single devices go by name, in the order of the fleet", () => {
    const ticks = toggleDevice(toggleDevice(nothing, b1, fleet), a1, fleet);
    expect(pushTargets(ticks, fleet)).toEqual({ devices: ["a1", "b1"] });
  });
  it("whole profiles go as profiles", () => {
    const ticks = toggleProfile(toggleProfile(nothing, "x86-pc", fleet), "pi-4", fleet);
    expect(pushTargets(ticks, fleet)).toEqual({ profiles: ["pi-4", "x86-pc"] });
  });
  it("a mix is named device by device: the API takes one or the other", () => {
    const ticks = toggleDevice(toggleProfile(nothing, "pi-4", fleet), b1, fleet);
    expect(pushTargets(ticks, fleet)).toEqual({ devices: ["a1", "a2", "b1"] });
  });
  it("taking one device out of a ticked profile leaves the others", () => {
    const ticks = toggleDevice(toggleProfile(nothing, "pi-4", fleet), a1, fleet);
    expect(isTicked(ticks, a1)).toBe(false);
    expect(pushTargets(ticks, fleet)).toEqual({ devices: ["a2"] });
  });
  it("ticking a profile swallows its single ticks, and unticking it leaves none", () => {
    const ticks = toggleProfile(toggleDevice(nothing, a1, fleet), "pi-4", fleet);
    expect(pushTargets(ticks, fleet)).toEqual({ profiles: ["pi-4"] });
    expect(pushTargets(toggleProfile(ticks, "pi-4", fleet), fleet)).toBeNull();
  });
});
