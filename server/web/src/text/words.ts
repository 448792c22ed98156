// States in plain words, and the tone each is shown in. A tone is never the only sign: the word stands beside it.

import type {
  Device,
  DeviceStatus,
  JobState,
  JobStep,
  PushState,
  Rollout,
  RolloutDevice,
  RolloutDeviceState,
  RolloutState,
} from "../api/types";
import { bytes, micros, plural } from "./format";

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

export const rolloutWords: Record<RolloutState, Word> = {
  draft: { text: "draft", tone: "idle" },
  signed: { text: "signed", tone: "busy" },
  canary: { text: "canary", tone: "busy" },
  ramp: { text: "ramp", tone: "busy" },
  soak: { text: "soak", tone: "busy" },
  done: { text: "done", tone: "good" },
  paused: { text: "paused", tone: "warn" },
  aborted: { text: "aborted", tone: "bad" },
  rolling_back: { text: "rolling back", tone: "warn" },
};

export const rolloutDeviceWords: Record<RolloutDeviceState, Word> = {
  waiting: { text: "waiting", tone: "idle" },
  wanted: { text: "told", tone: "busy" },
  fetching: { text: "fetching", tone: "busy" },
  trial: { text: "on trial", tone: "busy" },
  committed: { text: "running it", tone: "good" },
  failed: { text: "failed", tone: "bad" },
  skipped: { text: "skipped", tone: "idle" },
};

export const pushWords: Record<PushState, Word> = {
  compressing: { text: "compressing", tone: "busy" },
  releasing: { text: "signing the release", tone: "busy" },
  rolling_out: { text: "rolling out", tone: "busy" },
  done: { text: "done", tone: "good" },
  failed: { text: "failed", tone: "bad" },
};

export const isFinal = (state: RolloutState) => state === "done" || state === "aborted";
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

/** Where a rollout stands and what happens next, in one or two sentences. */
export function rolloutSaying(rollout: Rollout): string {
  const { counts, policy } = rollout;
  const total = rolloutTotal(rollout);
  const done = counts.committed ?? 0;
  const canaries = rollout.devices.filter((device) => device.stage === "canary");
  const canariesDone = canaries.filter((device) => device.state === "committed").length;
  const share = `${done} of ${plural(total, "device")} run it`;
  switch (rollout.state) {
    case "draft":
      return "Being prepared; no device was told yet.";
    case "signed":
      return "Signed; the first devices are about to be told.";
    case "canary":
      if (canaries.length === 0) return "The canaries try it first; the others follow."; // lists name no devices
      return (
        `${canariesDone} of ${plural(canaries.length, "canary", "canaries")} run it.` +
        (canaries.length < total ? " The others follow when all canaries do." : "")
      );
    case "ramp":
      return `${share}. An offline device gets it when it comes back.`;
    case "soak":
      return `${share}. It is watched for ${policy.soak_s} s before it counts as done.`;
    case "done":
      return `${share}.`;
    case "paused":
      return `${share}; no further device is told until it is resumed.`;
    case "rolling_back":
      return "Devices that did not finish get their previous model back.";
    case "aborted":
      return `${share}; the others kept or got back their previous model.`;
  }
}

/** Plain words for one device's line; the device's own reason wins. */
export function rolloutDeviceSaying(device: RolloutDevice): string {
  if (device.reason) return device.reason;
  switch (device.state) {
    case "waiting":
      return device.stage === "canary" ? "Next in line" : "Waits for the canaries";
    case "wanted":
      return "Told; it answers when it is online";
    case "fetching":
      return device.chunks_total ? `${device.chunks_have ?? 0} of ${device.chunks_total} chunks` : "Fetching";
    case "trial":
      return "Checking answers, latency and memory";
    case "committed":
      return "Passed its trial and switched";
    case "failed":
      return "Kept its previous model";
    case "skipped":
      return "Not part of it any more";
  }
}

export function rolloutTotal(rollout: Rollout): number {
  return Object.values(rollout.counts).reduce((sum, n) => sum + n, 0);
}

/** Progress 0..1 over devices, where a device that is fetching counts for the chunks it has. */
export function rolloutProgress(rollout: Rollout): number {
  const total = rolloutTotal(rollout);
  if (total === 0) return 0;
  let part = (rollout.counts.committed ?? 0) + (rollout.counts.skipped ?? 0);
  for (const device of rollout.devices) {
    if (device.state === "fetching" && device.chunks_total) {
      part += 0.8 * Math.min(1, (device.chunks_have ?? 0) / device.chunks_total);
    } else if (device.state === "trial") part += 0.9;
  }
  return Math.min(1, part / total);
}

export function policyWords(policy: Rollout["policy"]): string[] {
  const words = [
    policy.canary_per_profile === 0
      ? "no canaries"
      : `${plural(policy.canary_per_profile, "canary", "canaries")} a profile first`,
    policy.max_failed === 0 ? "pauses at the first failure" : `pauses after more than ${plural(policy.max_failed, "failure")}`,
  ];
  if (policy.soak_s > 0) words.push(`soaks ${policy.soak_s} s`);
  if (policy.limits?.p95_us) words.push(`p95 at most ${micros(policy.limits.p95_us)}`);
  if (policy.limits?.rss_bytes) words.push(`memory growth at most ${bytes(policy.limits.rss_bytes)}`);
  return words;
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
