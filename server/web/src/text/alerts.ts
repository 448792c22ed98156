// Alerts in plain words.

import type { Alert, AlertDetail, Firing, RuleKind, SentNotice, Severity, Silence } from "../api/alerts";
import { date, span } from "./format";
import { formatOf } from "./metrics";
import type { Tone, Word } from "./words";

export const severityWords: Record<Severity, Word> = {
  critical: { text: "critical", tone: "bad" },
  warning: { text: "warning", tone: "warn" },
  info: { text: "info", tone: "busy" },
};

/** What an alert is now, in the tone of how much it wants somebody. */
export function alertWord(alert: Pick<Alert, "state" | "severity" | "silenced" | "acknowledged_by" | "flapping">): Word {
  if (alert.state === "resolved") return { text: "resolved", tone: "good" };
  if (alert.silenced) return { text: "silenced", tone: "idle" };
  if (alert.acknowledged_by !== null) return { text: "acknowledged", tone: "idle" };
  return alert.flapping ? { text: `${alert.severity}, comes and goes`, tone: severityWords[alert.severity].tone } : severityWords[alert.severity];
}

const HAPPENED: Record<string, Word> = {
  opened: { text: "opened", tone: "bad" },
  fired: { text: "fired", tone: "bad" },
  pending: { text: "pending", tone: "idle" },
  resolving: { text: "resolving", tone: "idle" },
  reopened: { text: "again", tone: "bad" },
  grew: { text: "grew", tone: "warn" },
  flapping: { text: "comes and goes", tone: "warn" },
  calm: { text: "calm again", tone: "good" },
  resolved: { text: "resolved", tone: "good" },
  acknowledged: { text: "acknowledged", tone: "busy" },
  unacknowledged: { text: "acknowledged no more", tone: "idle" },
  silenced: { text: "silenced", tone: "idle" },
  unsilenced: { text: "silenced no more", tone: "idle" },
};
export const happenedWord = (what: string): Word => HAPPENED[what] ?? { text: what.replaceAll("_", " "), tone: "idle" };

export const noticeWords: Record<SentNotice["state"], Word> = {
  waiting: { text: "waiting", tone: "busy" },
  sent: { text: "sent", tone: "good" },
  failed: { text: "failed", tone: "bad" },
  dropped: { text: "not sent", tone: "idle" },
};

export const silenceWords: Record<Silence["state"], Word> = {
  holding: { text: "holds now", tone: "busy" },
  coming: { text: "is to come", tone: "idle" },
  over: { text: "over", tone: "idle" },
};

export const KINDS: Record<RuleKind, { title: string; what: string }> = {
  threshold: { title: "Threshold", what: "A figure over a time is beyond a value." },
  rate: { title: "Rate", what: "Something happens too often, or changes too fast." },
  baseline: { title: "Against the usual", what: "A figure is so many times what is usual." },
  drift: { title: "Drift", what: "Inputs or answers differ from those the model was made with." },
  absence: { title: "Absence", what: "A device is offline, or tells nothing." },
  server: { title: "The server itself", what: "Its disk, its ingest, its certificates." },
};

/** A subject as people write it: "device:pi-17" is pi-17, "profile:x" is all of x. */
export function subjectWords(subject: string): string {
  const [kind = "", ...rest] = subject.split(":");
  const name = rest.join(":");
  if (name === "") return kind === "fleet" ? "the fleet" : kind === "server" ? "the server" : kind || "all of it";
  if (kind === "device") return name;
  return kind === "artifact" ? `artifact ${name.slice(0, 10)}` : `${kind} ${name}`;
}

/** A threshold or a value of a rule in its unit. */
export function valueWords(value: number | null, unit: string, aggregate = ""): string {
  if (value === null) return "–";
  if (unit === "times") return `${Number(value.toPrecision(3))} times`;
  if (unit === "s") return span(value * 1000);
  if (aggregate === "ratio") return formatOf("", "ratio")(value);
  return formatOf(unit)(value);
}

/** How many want somebody: firing, neither acknowledged nor silenced. */
export const wanting = (firing: Firing): number => Math.max(0, firing.critical + firing.warning + firing.info - firing.acknowledged - firing.silenced);

export function badgeTone(firing: Firing): Tone {
  return firing.critical > 0 ? "bad" : firing.warning > 0 ? "warn" : "busy";
}

export function lastedWords(alert: Pick<Alert, "opened_at" | "since" | "resolved_at">, now: number): string {
  return alert.resolved_at === null ? `for ${span(now - alert.since)}` : `lasted ${span(alert.resolved_at - alert.opened_at)}`;
}

/** The times in which an alert fired, oldest first: one that comes again within a while is the same alert. */
export function firingTimes(alert: Pick<AlertDetail, "since" | "resolved_at" | "timeline">): { from: number; to: number | null }[] {
  const times: { from: number; to: number | null }[] = [];
  for (const { what, at } of alert.timeline.filter((each) => each.subject === "").sort((a, b) => a.at - b.at || a.id - b.id)) {
    const last = times[times.length - 1];
    if ((what === "opened" || what === "reopened") && (!last || last.to !== null)) times.push({ from: at, to: null });
    else if (what === "resolved" && last?.to === null) last.to = at;
  }
  // A long story is not kept from its beginning: what is left says at least how it stands now.
  return times.length > 0 ? times : [{ from: alert.since, to: alert.resolved_at }];
}

export const silencedUntil = (silence: Silence): string =>
  silence.repeats === "no"
    ? `until ${date(silence.ends_at)}`
    : `${silence.repeats}, ${span(silence.ends_at - silence.starts_at)} from ${date(silence.starts_at)}${silence.until ? `, until ${date(silence.until)}` : ""}`;
