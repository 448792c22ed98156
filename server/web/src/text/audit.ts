// Rows of the audit log in words.

import type { AuditEntry } from "../api/people";

const VERBS: Record<string, string> = {
  abort: "aborted",
  accept: "accepted",
  add: "added",
  approve: "approved",
  calibrate: "calibrated",
  cancel: "cancelled",
  change: "changed",
  compress: "compressed",
  create: "created",
  delete: "deleted",
  dismiss: "dismissed",
  edit: "changed",
  import: "imported",
  new: "made a new",
  pause: "paused",
  profile: "profiled",
  push: "pushed",
  put: "set",
  register: "registered",
  remove: "removed",
  renew: "renewed",
  reset: "reset",
  resume: "resumed",
  revoke: "revoked",
  rotate: "rotated",
  set: "set",
  sign: "signed",
  start: "started",
  update: "changed",
  upload: "uploaded",
  withdraw: "withdrew",
};
const WHOLE: Record<string, string> = {
  sign_in: "signed in",
  sign_out: "signed out",
  sign_in_failed: "failed to sign in",
  enroll: "enrolled",
  enrol: "enrolled",
  enrol_failed: "failed to enrol",
  password: "was given a new password on the server's machine",
  change_own_password: "changed their own password",
  change_role: "changed the role of",
  reset_password: "reset the password of",
  push: "pushed a model",
};

/** "create_rollout" -> "created rollout"; what is not known is told as it is written. */
export function actionWords(action: string): string {
  const whole = WHOLE[action];
  if (whole) return whole;
  const [verb = "", ...rest] = action.split(/[_.]/);
  return [VERBS[verb] ?? verb, ...rest].join(" ");
}

/** What was sent, as short pairs: "profile raspberry-pi-4, labels site=h3". */
export function sentWords(entry: AuditEntry): string {
  const sent = entry.data["sent"];
  const rest = withoutRequest(entry.data);
  const told = isRecord(sent) ? { ...sent, ...rest } : rest;
  return Object.entries(told)
    .filter(([, value]) => value !== null && value !== "" && value !== false && value !== entry.subject)
    .map(([key, value]) => `${key.replaceAll("_", " ")} ${plain(value)}`)
    .join(", ");
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function withoutRequest(data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).filter(([key]) => key !== "request" && key !== "status" && key !== "sent"));
}

function plain(value: unknown): string {
  if (Array.isArray(value)) return value.map(plain).join(" ");
  if (isRecord(value)) {
    return Object.entries(value)
      .filter(([, each]) => each !== null)
      .map(([key, each]) => `${key}=${plain(each)}`)
      .join(" ");
  }
  return String(value);
}
