// How carefully a rollout goes, as people type it, and as the API takes it: ms and µs, MiB and bytes, minutes and s.

import { type DeliveryText, NO_RULES, readDelivery } from "./delivery";
import { plural } from "./format";

export interface PolicyText {
  canary: string;
  approveCanary: boolean;
  waves: string; // percents with commas: "10, 50, 100"
  waveSoak: string; // minutes after each wave but the last
  approveWaves: boolean;
  failed: string; // empty: the first stops it, or the gate on their share decides
  soak: string; // seconds at the end
  p95: string; // ms, in the trial
  rss: string; // MiB, in the trial
  failedShare: string; // percent
  p95Ratio: string;
  p95Gate: string; // ms
  rssGate: string; // MiB
  energyRatio: string;
  agreement: string; // percent
  onGate: "pause" | "rollback";
  rate: string; // devices a minute
  timeout: string; // minutes
  deadline: string; // hours from now
  hours: string;
  timezone: string;
  lateJoiners: boolean;
  shadow: string; // seconds
  delta: "prefer" | "only" | "never";
  delivery: DeliveryText;
}

export const FIRST_POLICY: PolicyText = {
  canary: "1",
  approveCanary: false,
  waves: "100",
  waveSoak: "",
  approveWaves: false,
  failed: "",
  soak: "0",
  p95: "",
  rss: "",
  failedShare: "",
  p95Ratio: "",
  p95Gate: "",
  rssGate: "",
  energyRatio: "",
  agreement: "",
  onGate: "pause",
  rate: "",
  timeout: "",
  deadline: "",
  hours: "",
  timezone: "UTC",
  lateJoiners: true,
  shadow: "",
  delta: "prefer",
  delivery: NO_RULES,
};

const MIB = 1024 * 1024;
const HOUR_MS = 3_600_000;

/** A number that is larger than 0, or nothing where the field is empty. */
function positive(text: string): number | undefined {
  const value = Number(text.replace(",", "."));
  return text.trim() !== "" && Number.isFinite(value) && value > 0 ? value : undefined;
}
const whole = (text: string) => Math.max(0, Math.round(Number(text) || 0));

/** Percents of the waves, or what is wrong with them. */
export function readWaves(text: string): number[] | string {
  const parts = text.split(",").map((each) => each.replace("%", "").trim()).filter(Boolean);
  const waves = parts.map(Number);
  if (parts.length === 0) return "Say how far the waves go, such as 10, 50, 100.";
  if (waves.some((each) => !(each > 0 && each <= 100))) return "Waves are percents from 1 to 100, with commas between.";
  if (waves.some((each, i) => i > 0 && each <= waves[i - 1]!)) return "Each wave counts those before it, so it must be larger.";
  if (waves[waves.length - 1] !== 100) return "The last wave is 100; target fewer devices instead.";
  return waves;
}

/** What is left out keeps the server's default. A sentence where something cannot be meant. */
export function readPolicy(text: PolicyText, now = Date.now()): Record<string, unknown> | string {
  const waves = readWaves(text.waves);
  if (typeof waves === "string") return waves;
  const delivery = readDelivery(text.delivery, false);
  if (typeof delivery === "string") return delivery;
  const hours = readDelivery({ ...NO_RULES, hours: text.hours, timezone: text.timezone }, false);
  if (typeof hours === "string") return hours;
  const share = (value: string) => {
    const percent = positive(value);
    return percent === undefined ? undefined : percent / 100;
  };
  const agreement = share(text.agreement);
  const shadow = positive(text.shadow);
  if (agreement !== undefined && shadow === undefined) return "Agreement needs shadow mode: without it nobody compares answers.";
  if ((agreement ?? 0) > 1 || (share(text.failedShare) ?? 0) > 1) return "A share is at most 100 percent.";
  const gates = present({
    max_failure_ratio: share(text.failedShare),
    p95_ratio: positive(text.p95Ratio),
    p95_us: scaled(text.p95Gate, 1000),
    rss_bytes: scaled(text.rssGate, MIB),
    energy_ratio: positive(text.energyRatio),
    min_agreement: agreement,
  });
  const limits = present({ p95_us: scaled(text.p95, 1000), rss_bytes: scaled(text.rss, MIB) });
  const soak = Math.round((positive(text.waveSoak) ?? 0) * 60);
  const usual = waves.length === 1 && soak === 0 && !text.approveWaves;
  const timeout = positive(text.timeout);
  const deadline = positive(text.deadline);
  return {
    canary_per_profile: whole(text.canary),
    soak_s: whole(text.soak),
    ...(text.approveCanary ? { approve_canary: true } : {}),
    ...(usual
      ? {}
      : {
          waves: waves.map((percent, i) => ({
            percent,
            soak_s: i < waves.length - 1 ? soak : 0,
            approve: text.approveWaves,
          })),
        }),
    ...(text.failed.trim() === "" ? {} : { max_failed: whole(text.failed) }),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
    ...(Object.keys(gates).length > 0 ? { gates } : {}),
    ...(text.onGate === "rollback" ? { on_gate: "rollback" } : {}),
    ...(positive(text.rate) === undefined ? {} : { rate_per_minute: Math.max(1, whole(text.rate)) }),
    ...(timeout === undefined ? {} : { stage_timeout_s: Math.round(timeout * 60) }),
    ...(deadline === undefined ? {} : { deadline_ms: now + Math.round(deadline * HOUR_MS) }),
    ...(text.hours.trim() === "" ? {} : { hours: hours.hours, timezone: hours.timezone }),
    ...(text.lateJoiners ? {} : { late_joiners: false }),
    ...(shadow === undefined ? {} : { shadow: { seconds: Math.max(1, Math.round(shadow)) } }),
    ...(text.delta === "prefer" ? {} : { delta: text.delta }),
    ...(text.delivery === NO_RULES ? {} : { delivery }),
  };
}

function present(values: Record<string, number | undefined>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).filter((pair): pair is [string, number] => pair[1] !== undefined));
}

function scaled(text: string, factor: number): number | undefined {
  const value = positive(text);
  return value === undefined ? undefined : Math.max(1, Math.round(value * factor));
}

/** The fold's line: what happens first and what stops it. */
export function policySummary(text: PolicyText): string {
  const canaries = text.canary === "0" ? "no canary" : `${plural(whole(text.canary), "canary", "canaries")} a profile first`;
  const waves = readWaves(text.waves);
  const then = typeof waves === "string" || waves.length === 1 ? "then the others" : `then ${waves.join(", ")} %`;
  return `${canaries}, ${then}`;
}
