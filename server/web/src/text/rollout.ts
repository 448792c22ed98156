// Rollouts in plain words: where one stands, what its policy says, why it did what it did.

import type { Decision, Policy, Rollout, RolloutDevice, RolloutDeviceState, RolloutState, Target, Verdict, What } from "../api/rollouts";
import { deliveryWords } from "./delivery";
import { bytes, date, micros, plural, span } from "./format";
import type { Word } from "./words";

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

/** One that was aborted because it went back says so. */
export const rolloutWord = (rollout: Pick<Rollout, "state" | "rolled_back_by">): Word =>
  rollout.state === "aborted" && rollout.rolled_back_by.length > 0 ? { text: "rolled back", tone: "warn" } : rolloutWords[rollout.state];

export const rolloutDeviceWords: Record<RolloutDeviceState, Word> = {
  waiting: { text: "waiting", tone: "idle" },
  wanted: { text: "told", tone: "busy" },
  fetching: { text: "fetching", tone: "busy" },
  trial: { text: "on trial", tone: "busy" },
  committed: { text: "running it", tone: "good" },
  failed: { text: "failed", tone: "bad" },
  unreached: { text: "unreached", tone: "warn" },
  skipped: { text: "left out or back", tone: "idle" },
};
export const DEVICE_STATES = Object.keys(rolloutDeviceWords) as RolloutDeviceState[];

export const verdictWords: Record<Verdict["state"], Word> = {
  kept: { text: "kept", tone: "good" },
  missed: { text: "missed", tone: "bad" },
  undecided: { text: "undecided", tone: "idle" },
};

export const decisionWords: Record<What, Word> = {
  created: { text: "created", tone: "idle" },
  signed: { text: "signed", tone: "busy" },
  approved: { text: "approved", tone: "good" },
  begun: { text: "begun", tone: "busy" },
  passed: { text: "passed", tone: "good" },
  promoted: { text: "another canary", tone: "idle" },
  joined: { text: "joined later", tone: "idle" },
  unreached: { text: "unreached", tone: "warn" },
  waiting: { text: "waits", tone: "idle" },
  gate: { text: "gate", tone: "warn" },
  overruled: { text: "overruled", tone: "warn" },
  paused: { text: "paused", tone: "warn" },
  resumed: { text: "resumed", tone: "busy" },
  aborted: { text: "aborted", tone: "bad" },
  rolling_back: { text: "rolling back", tone: "warn" },
  rolled_back: { text: "rolled back", tone: "warn" },
  done: { text: "done", tone: "good" },
};

export const isFinal = (state: RolloutState) => state === "done" || state === "aborted";

/** "the canaries", "wave 2 of 3", and where there is one wave only "the ramp". */
export const stageName = (wave: number, waves: number) =>
  wave === 0 ? "the canaries" : waves === 1 ? "the ramp" : `wave ${wave} of ${waves}`;

export function rolloutTotal(rollout: Pick<Rollout, "counts">): number {
  return Object.values(rollout.counts).reduce((sum, n) => sum + n, 0);
}

/** Progress 0..1 over devices: what is settled counts whole, what is under way in part. */
export function rolloutProgress({ counts }: Pick<Rollout, "counts">): number {
  const total = rolloutTotal({ counts });
  if (total === 0) return 0;
  const whole = (counts.committed ?? 0) + (counts.skipped ?? 0);
  const part = 0.5 * (counts.fetching ?? 0) + 0.9 * (counts.trial ?? 0);
  return Math.min(1, (whole + part) / total);
}

/** Where a rollout stands and what happens next, in one or two sentences. */
export function rolloutSaying(rollout: Rollout): string {
  const { counts, policy } = rollout;
  const total = rolloutTotal(rollout);
  const share = `${(counts.committed ?? 0).toLocaleString("en-US")} of ${plural(total, "device")} run it`;
  const stage = stageName(rollout.wave, policy.waves.length);
  switch (rollout.state) {
    case "draft":
      return rollout.release.state === "awaiting_signature"
        ? "The release waits for a signature by a key that is kept elsewhere; no device was told."
        : "Being prepared; no device was told yet.";
    case "signed":
      return rollout.waiting ? "Signed; no device was told yet." : "Signed; the first devices are about to be told.";
    case "canary":
      return `${share}. The canaries try it first; the others follow when all canaries do.`;
    case "ramp":
      return policy.waves.length > 1 ? `${share}; at ${stage}.` : `${share}. An offline device gets it when it comes back.`;
    case "soak":
      return `${share}. It is watched for ${span(policy.soak_s * 1000)} before it counts as done.`;
    case "done":
      return `${share}.`;
    case "paused":
      return `${share}; stopped at ${stage}, and no further device is told until it is resumed.`;
    case "rolling_back":
      return "Its devices get back what they ran before.";
    case "aborted":
      return rollout.rolled_back_by.length > 0
        ? `It was rolled back: ${total === 1 ? "the device" : `all ${total.toLocaleString("en-US")} devices`} kept or got back the previous model.`
        : `${share}; the others kept or got back their previous model.`;
  }
}

/** The state of one device: who was told before it was left out has gone back. */
export function rolloutDeviceWord(device: RolloutDevice): Word {
  if (device.state !== "skipped") return rolloutDeviceWords[device.state];
  return { text: device.told_at === null ? "left out" : "went back", tone: "idle" };
}

/** A reason in its parts: what it says, and the figures after it, which are long in one line. */
export function clauses(why: string): string[] {
  return why.split("; ").filter(Boolean);
}

/** Plain words for one device's line; its own reason wins. */
export function rolloutDeviceSaying(device: RolloutDevice): string {
  if (device.reason) return device.reason;
  if (device.waiting && (device.state === "wanted" || device.state === "fetching")) return device.waiting;
  switch (device.state) {
    case "waiting":
      return device.stage === "canary" ? "Next in line" : "Waits for its stage";
    case "wanted":
      return device.online ? "Told; about to begin" : "Told; it answers when it is online";
    case "fetching": {
      const what = device.delta ? "the difference to what it runs" : "the whole artifact";
      const way = device.via === "https" ? " over HTTPS" : "";
      return device.chunks_total
        ? `${device.chunks_have ?? 0} of ${device.chunks_total} chunks of ${what}${way}`
        : `Fetching ${what}${way}`;
    }
    case "trial":
      return "Checking answers, latency and memory";
    case "committed":
      return device.delta ? "Passed its trial and switched; it fetched only the difference" : "Passed its trial and switched";
    case "failed":
      return "Kept its previous model";
    case "unreached":
      return "Did not come by in time; it is told when it does";
    case "skipped":
      return "Not part of it any more";
  }
}

const percent = (share: number) => `${Number((share * 100).toPrecision(3))} %`;
const join = (words: readonly string[]) =>
  words.length < 2 ? (words[0] ?? "") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;

/** What the gates ask for. */
export function gateWords({ gates, limits }: Pick<Policy, "gates" | "limits">): string[] {
  const words: string[] = [];
  if (gates.max_failure_ratio !== null) words.push(`at most ${percent(gates.max_failure_ratio)} failed`);
  if (gates.p95_us !== null) words.push(`p95 at most ${micros(gates.p95_us)}`);
  if (gates.p95_ratio !== null) words.push(`p95 at most ${gates.p95_ratio} times that of before`);
  if (gates.rss_bytes !== null) words.push(`memory at most ${bytes(gates.rss_bytes)}`);
  if (gates.energy_ratio !== null) words.push(`energy at most ${gates.energy_ratio} times that of before`);
  if (gates.min_agreement !== null) words.push(`at least ${percent(gates.min_agreement)} of the answers as before`);
  if (limits.p95_us) words.push(`in the trial p95 at most ${micros(limits.p95_us)}`);
  if (limits.rss_bytes) words.push(`in the trial memory growth at most ${bytes(limits.rss_bytes)}`);
  return words;
}

/** What a policy says, in short sentences; what is as usual is left out. */
export function policyWords(policy: Policy): string[] {
  const words: string[] = [];
  const others = Object.entries(policy.canary_profiles).map(([profile, n]) => `${n} of ${profile}`);
  words.push(
    (policy.canary_per_profile === 0 ? "no canaries" : `${plural(policy.canary_per_profile, "canary", "canaries")} a profile first`) +
      (others.length > 0 ? `, ${join(others)}` : "") +
      (policy.approve_canary ? ", after somebody approved" : ""),
  );
  if (policy.waves.length > 1 || policy.waves.some((wave) => wave.approve || wave.soak_s > 0)) {
    const told = policy.waves.map(
      (wave) =>
        `${wave.percent} %` +
        (wave.approve ? " once approved" : "") +
        (wave.soak_s > 0 ? ` watched for ${span(wave.soak_s * 1000)}` : ""),
    );
    words.push(`then ${join(told)}`);
  }
  if (policy.rate_per_minute !== null) words.push(`at most ${plural(policy.rate_per_minute, "device")} a minute`);
  if (policy.max_in_flight !== null) words.push(`at most ${plural(policy.max_in_flight, "device")} at once`);
  const stops = policy.on_gate === "rollback" ? "rolls back" : "pauses";
  if (policy.max_failed !== null || policy.gates.max_failure_ratio === null) {
    const allowed = policy.max_failed ?? 0;
    words.push(allowed === 0 ? `${stops} at the first failure` : `${stops} after more than ${plural(allowed, "failure")}`);
  }
  const gates = gateWords(policy);
  if (gates.length > 0) words.push(`${stops} unless ${join(gates)}`);
  if (policy.shadow) words.push(`each answers beside the old model for ${span(policy.shadow.seconds * 1000)} first`);
  if (policy.soak_s > 0) words.push(`watched for ${span(policy.soak_s * 1000)} at the end`);
  if (policy.start_at_ms !== null) words.push(`not before ${date(policy.start_at_ms)}`);
  if (policy.hours.length > 0) words.push(`tells devices only from ${policy.hours.join(" and ")} (${policy.timezone})`);
  if (policy.stage_timeout_s !== null) words.push(`a stage has ${span(policy.stage_timeout_s * 1000)}`);
  if (policy.deadline_ms !== null) words.push(`ends ${date(policy.deadline_ms)}`);
  if (!policy.late_joiners) words.push("devices that fit later do not join");
  if (policy.delta !== "prefer") words.push(policy.delta === "only" ? "only differences are sent" : "always whole artifacts");
  if (policy.delivery) words.push(...deliveryWords(policy.delivery).map((each) => `downloads ${each}`));
  return words;
}

/** Whom a rollout is for. */
export function targetWords(target: Target | null): string {
  if (target === null) return "devices that were named";
  const words: string[] = [];
  if (target.profiles.length > 0) words.push(`of profile ${target.profiles.join(" or ")}`);
  const labels = Object.entries(target.labels).map(([key, value]) => `${key}=${value}`);
  if (labels.length > 0) words.push(`with ${labels.join(" and ")}`);
  if (target.groups.length > 0) words.push(`in group ${target.groups.join(" or ")}`);
  if (target.query) words.push(`where ${target.query}`);
  return words.length === 0 ? "every enrolled device" : `devices ${words.join(", ")}`;
}

/** "by ada", or nothing where the server decided. */
export const decidedBy = (decision: Decision) => (decision.actor ? ` by ${decision.actor}` : "");
