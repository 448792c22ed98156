// Events as a line of the activity list; null for those that only keep pages live, and for who signed in when.

import type { Change } from "../api/types";

export interface EventWords {
  subject: string;
  href: string | null;
  text: string;
}

const HREF: Record<string, (subject: string) => string | null> = {
  device: (name) => `/devices/${encodeURIComponent(name)}`,
  model: (name) => `/models/${encodeURIComponent(name)}`,
  rollout: (id) => `/rollouts/${encodeURIComponent(id)}`,
  profile: (id) => `/profiles/${encodeURIComponent(id)}`,
  finding: (id) => `/findings/${encodeURIComponent(id)}`,
  budget: (model) => `/models/${encodeURIComponent(model)}`,
  job: () => "/jobs",
  search: (id) => `/searches/${encodeURIComponent(id)}`,
  push: (id) => `/push/${encodeURIComponent(id)}`,
};
// Progress and samples come many times a second; the pages they concern show them.
const QUIET = new Set(["progress", "trial", "measuring", "batch", "changed", "used", "joined"]);
// Steps on the way that pass within a moment: what comes of them is told.
const PASSING = new Set(["artifact delta", "release signed", "release created", "rollout created", "push releasing", "push rolling_out", "job started"]);
const KIND: Record<string, string> = {
  job: "A compression job",
  search: "A search",
  rollout: "A rollout",
  release: "A release",
  artifact: "An artifact",
  push: "A push",
  server: "The server",
};

const ACTIONS: Record<string, string> = {
  code: "got a new enrolment code",
  code_cancelled: "has no open enrolment code any more",
  renewed: "renewed its credentials",
  sampling_set: "may send inputs by another policy",
  sampling_cleared: "sends inputs as its groups and the fleet say",
  withdrawn: "was withdrawn",
  approved: "was approved to go on",
  added: "was added",
  registered: "was registered",
  revoked: "was revoked",
  created: "was created",
  queued: "is queued",
  cancelling: "is being cancelled",
  cancelled: "was cancelled",
  compressing: "started",
  done: "is done",
  deleted: "was deleted",
};

export function eventWords(change: Change): EventWords | null {
  if (change.kind === "telemetry" || change.kind === "person" || QUIET.has(change.action)) return null;
  if (PASSING.has(`${change.kind} ${change.action}`)) return null;
  if (change.kind === "finding") return findingWords(change);
  if (change.kind === "alert") return alertEventWords(change);
  if (change.kind === "server") return serverWords(change);
  if (change.action === "delivery_rules") {
    return { subject: change.subject, href: HREF["device"]!(change.subject), text: "fetches by other rules" };
  }
  if (change.kind === "profiling") return profilingEventWords(change);
  if (change.kind === "profile" && change.action in CALIBRATED) return calibrationWords(change);
  if (change.kind === "budget") return budgetWords(change);
  if (change.kind === "rollout" && change.action === "wave") return null; // its state, and its page, tell
  const text = change.action === "state" ? stateText(change) : (ACTIONS[change.action] ?? spaced(change.action));
  if (text === null) return null;
  const model = change.data["model"];
  const of = typeof model === "string" ? ` of ${model}` : "";
  return {
    subject: KIND[change.kind] ? KIND[change.kind] + of : change.subject,
    href: HREF[change.kind]?.(change.subject) ?? null,
    text,
  };
}

const ALERTED: Record<string, string> = {
  opened: "fires",
  reopened: "fires again",
  resolved: "is over",
  acknowledged: "is looked after",
  unacknowledged: "is looked after no more",
};
const RULED: Record<string, readonly [string, string, string]> = {
  rule_set: ["The alert rule", "was set", "/alerts/rules"],
  rule_removed: ["The alert rule", "was removed", "/alerts/rules"],
  channel_set: ["The channel", "was set", "/alerts/channels"],
  channel_removed: ["The channel", "was removed", "/alerts/channels"],
  channel_failed: ["The channel", "could not be reached", "/alerts/channels"],
};

/** What was found, and who said what is watched; how often it is told, its page tells. */
function alertEventWords(change: Change): EventWords | null {
  const title = said(change.data["title"]);
  const text = ALERTED[change.action];
  if (text !== undefined && title !== "") {
    const message = change.action === "opened" || change.action === "reopened" ? said(change.data["message"]) : "";
    return { subject: title, href: `/alerts/${encodeURIComponent(change.subject)}`, text: message ? `${text}: ${message}` : text };
  }
  if (change.action === "silenced" && title === "") return { subject: "Alerts", href: "/alerts/silences", text: `are silenced: ${said(change.data["reason"])}` };
  const ruled = RULED[change.action];
  return ruled ? { subject: `${ruled[0]} ${change.subject}`, href: ruled[2], text: ruled[1] } : null;
}

/** What is of the whole installation: its groups, keys and rules. */
function serverWords(change: Change): EventWords | null {
  switch (change.action) {
    case "group":
      return { subject: `The group ${change.subject}`, href: "/groups", text: `is: ${said(change.data["query"])}` };
    case "group_deleted":
      return { subject: `The group ${change.subject}`, href: "/groups", text: "was removed" };
    case "delivery_rules":
      return { subject: "The fleet", href: "/settings", text: "fetches by other rules" };
    default:
      if (change.subject === "keys") return { subject: "The keys", href: "/trust", text: "have changed" };
      return { subject: "The server", href: null, text: spaced(change.action) };
  }
}

const said = (value: unknown) => (typeof value === "string" ? value : "");

/** What is wrong, and what ends it; the steps between are on its page. */
function findingWords(change: Change): EventWords | null {
  const model = said(change.data["model"]);
  const profile = said(change.data["profile"]);
  const on = `${model} on ${profile}`;
  const told: Record<string, string> = {
    missed: `is missed: ${said(change.data["message"])}`,
    search: `is missed by ${on}: a search was started`,
    released: `is missed by ${on}: what was found is rolled out`,
    resolved: `is settled: ${said(change.data["message"])}`,
    dismissed: `is missed by ${on}, and left so`,
  };
  const text = told[change.action];
  return text === undefined ? null : { subject: "A budget", href: HREF["finding"]!(change.subject), text };
}

/** A measurement that was asked for and its end; what comes of it is told by the profile. */
function profilingEventWords(change: Change): EventWords | null {
  const what = said(change.data["what"]) === "device" ? "itself" : "what it runs";
  const told: Record<string, string> = {
    queued: `is asked to measure ${what}`,
    done: `has measured ${what}`,
    failed: `could not measure ${what}: ${said(change.data["message"])}`,
    expired: `was asked to measure ${what} in vain: ${said(change.data["message"])}`,
  };
  const text = told[change.action];
  const device = said(change.data["device"]);
  return text === undefined ? null : { subject: device, href: HREF["device"]!(device), text };
}

const CALIBRATED: Record<string, string> = {
  calibrated: "has learned from its devices",
  "calibration kept": "keeps its calibration",
  "calibration failed": "was not calibrated",
  "calibration reverted": "went back",
};

function calibrationWords(change: Change): EventWords {
  const text = `${CALIBRATED[change.action]}. ${said(change.data["message"])}`;
  return { subject: change.subject, href: HREF["profile"]!(change.subject), text };
}

function budgetWords(change: Change): EventWords {
  const profile = said(change.data["profile"]);
  const text = change.action === "set" ? `has a budget on ${profile}: ${said(change.data["words"])}` : `has no budget on ${profile} any more`;
  return { subject: change.subject, href: HREF["budget"]!(change.subject), text };
}

const spaced = (word: string) => word.replaceAll("_", " ");

/** A device's step or a rollout's state; steps that pass within seconds are left out. */
function stateText(change: Change): string | null {
  if (change.kind === "device") {
    if (change.data["online"] === false) return "went offline";
    switch (change.data["step"]) {
      case "committed":
        return "runs the model it was told to";
      case "rejected":
        return "rejected a model";
      case "failed":
        return "failed to install a model";
      case "rolled_back":
        return "went back to its last good model";
      default:
        return null;
    }
  }
  const state = change.data["state"];
  if (typeof state !== "string" || state === "signed" || state === "soak") return null;
  const reason = change.data["reason"];
  return `is ${STATES[state] ?? spaced(state)}${typeof reason === "string" && reason ? `: ${reason}` : ""}`;
}

const STATES: Record<string, string> = { canary: "at its canaries", ramp: "ramping up" };
