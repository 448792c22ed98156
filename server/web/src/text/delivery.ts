// Delivery rules as people type and read them: KB/s and minutes, hours as "22:00-06:00".

import type { DeliveryCounts, DeliveryRules } from "../api/delivery";
import { bytes, span } from "./format";

export interface DeliveryText {
  rate: string; // KB a second
  fleetRate: string;
  hours: string; // several with commas between
  timezone: string;
  metered: DeliveryRules["metered"];
  transport: DeliveryRules["transport"];
  startWithin: string; // minutes
}

export const NO_RULES: DeliveryText = {
  rate: "",
  fleetRate: "",
  hours: "",
  timezone: "UTC",
  metered: "allow",
  transport: "auto",
  startWithin: "",
};

export function deliveryText(rules: DeliveryRules): DeliveryText {
  const kb = (value: number | null) => (value === null ? "" : String(value / 1000));
  return {
    rate: kb(rules.rate_bytes_s),
    fleetRate: kb(rules.fleet_rate_bytes_s),
    hours: rules.hours.join(", "),
    timezone: rules.timezone,
    metered: rules.metered,
    transport: rules.transport,
    startWithin: rules.start_within_s > 0 ? String(rules.start_within_s / 60) : "",
  };
}

const HOURS = /^([01]?\d|2[0-3]):[0-5]\d-(([01]?\d|2[0-3]):[0-5]\d|24:00)$/;

/** The rules as the API takes them, or a sentence about what is wrong. */
export function readDelivery(text: DeliveryText, fleet: boolean): Partial<DeliveryRules> | string {
  const hours = text.hours
    .split(",")
    .map((each) => each.replaceAll(" ", "").replace("–", "-"))
    .filter(Boolean);
  const odd = hours.find((each) => !HOURS.test(each));
  if (odd !== undefined) return `"${odd}" is no span of hours; write 22:00-06:00.`;
  for (const [value, what] of [
    [text.rate, "The rate of a device"],
    ...(fleet ? [[text.fleetRate, "The rate of the fleet"]] : []),
  ] as [string, string][]) {
    if (value !== "" && !(Number(value) >= 1)) return `${what} is 1 KB/s or more, or empty.`;
  }
  if (text.startWithin !== "" && !(Number(text.startWithin) >= 0)) return "The spread of starts is a number of minutes.";
  const rate = (value: string) => (value === "" ? null : Math.round(Number(value) * 1000));
  return {
    rate_bytes_s: rate(text.rate),
    hours,
    timezone: text.timezone.trim() || "UTC",
    metered: text.metered,
    transport: text.transport,
    start_within_s: Math.round((Number(text.startWithin) || 0) * 60),
    ...(fleet ? { fleet_rate_bytes_s: rate(text.fleetRate) } : {}),
  };
}

const clock = (minutes: number) => `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;

/** What counts, in short sentences; empty: nothing is limited. */
export function deliveryWords(rules: DeliveryCounts | DeliveryRules | Omit<DeliveryRules, "fleet_rate_bytes_s">): string[] {
  const words: string[] = [];
  if (rules.rate_bytes_s !== null) words.push(`at most ${bytes(rules.rate_bytes_s)}/s`);
  if (rules.hours.length > 0) {
    const spans = rules.hours.map((each) => (typeof each === "string" ? each : `${clock(each[0])}-${clock(each[1])}`));
    const zone = "timezone" in rules ? rules.timezone : "UTC";
    words.push(`only from ${spans.map((each) => each.replace("-", " to ")).join(" and ")} (${zone})`);
  }
  if (rules.metered === "wait") words.push("not over a metered link");
  if (rules.transport !== "auto") words.push(`by ${rules.transport === "mqtt" ? "MQTT" : "HTTPS"} only`);
  if (rules.start_within_s > 0) words.push(`begins at a moment drawn from ${span(rules.start_within_s * 1000)}`);
  if ("fleet_rate_bytes_s" in rules && rules.fleet_rate_bytes_s !== null) {
    words.push(`${bytes(rules.fleet_rate_bytes_s)}/s for all downloads together`);
  }
  return words;
}
