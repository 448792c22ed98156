// States in plain words, and the tone each is shown in. A tone is never the only sign: the word stands beside it.

import type {
  Device,
  DeviceStatus,
  JobState,
  JobStep,
  PushState,
} from "../api/types";

export type Tone = "good" | "busy" | "warn" | "bad" | "idle";
export interface Word {
  text: string;
  tone: Tone;
}

export const deviceWords: Record<DeviceStatus, Word> = {
  registered: { text: "not enrolled", tone: "idle" },
  online: { text: "online", tone: "good" },
  offline: { text: "offline", tone: "warn" },
  revoked: { text: "revoked", tone: "bad" },
};

export const stepWords: Record<JobStep, Word> = {
  idle: { text: "idle", tone: "idle" },
  fetching: { text: "fetching", tone: "busy" },
  verified: { text: "verified", tone: "busy" },
  staged: { text: "staged", tone: "busy" },
  trial: { text: "on trial", tone: "busy" },
  committed: { text: "running", tone: "good" },
  rejected: { text: "rejected", tone: "bad" },
  failed: { text: "failed", tone: "bad" },
  rolled_back: { text: "rolled back", tone: "warn" },
};

export const jobWords: Record<JobState, Word> = {
  queued: { text: "queued", tone: "idle" },
  running: { text: "running", tone: "busy" },
  done: { text: "done", tone: "good" },
  failed: { text: "failed", tone: "bad" },
  cancelled: { text: "cancelled", tone: "idle" },
};

export const pushWords: Record<PushState, Word> = {
  compressing: { text: "compressing", tone: "busy" },
  releasing: { text: "signing the release", tone: "busy" },
  rolling_out: { text: "rolling out", tone: "busy" },
  done: { text: "done", tone: "good" },
  failed: { text: "failed", tone: "bad" },
};

export const jobIsOver = (state: JobState) => state === "done" || state === "failed" || state === "cancelled";

/** What a device does with its newest order, one short sentence. */
export function deviceDoing(device: Device): string {
  if (device.status === "revoked") return "Its credentials are void; it can come back only with a new code.";
  if (device.status === "registered") return "Waiting for the device to be enrolled with its code.";
  switch (device.step) {
    case "fetching":
      return device.chunks_total
        ? `Fetching chunk ${device.chunks_have ?? 0} of ${device.chunks_total}.`
        : "Fetching the new model.";
    case "verified":
      return "The new model is complete and its signature holds.";
    case "staged":
      return "The new model is in the second slot, waiting for its trial.";
    case "trial":
      return "Trying the new model against its probe.";
    case "committed":
      return "Running the model it was told to.";
    case "rejected":
    case "failed":
    case "rolled_back":
      return device.running ? "The last good model keeps running." : "It runs no model.";
    default:
      return device.running ? "Running its model." : "It was not told to run a model yet.";
  }
}

export interface Method {
  word: "measured" | "estimate";
  how: string;
}
/** "estimate:tdp*cpu" -> estimate; "ina3221" -> measured. */
export function method(name: string | null | undefined): Method | null {
  if (!name) return null;
  const [head, ...rest] = name.split(":");
  return head === "estimate" ? { word: "estimate", how: rest.join(":") || "model" } : { word: "measured", how: name };
}
