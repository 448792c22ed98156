// Alerts, their rules, silences and channels, as /api/v1 answers them. Times are Unix milliseconds; null = absent.

export type Severity = "info" | "warning" | "critical";
export type AlertState = "firing" | "resolved";

export interface Alert {
  id: string;
  rule: string;
  title: string;
  severity: Severity;
  state: AlertState;
  scope: Record<string, string>;
  sentence: string;
  worst: number | null;
  subjects: number;
  most_subjects: number;
  first_subject: string;
  model: string | null;
  profile: string | null;
  artifact: string | null;
  rollout: string | null;
  opened_at: number;
  since: number;
  updated_at: number;
  resolved_at: number | null;
  acknowledged_by: string | null;
  acknowledged_at: number | null;
  acknowledged_note: string;
  flapping: boolean;
  silenced: boolean;
  runbook: string;
}
export interface Firing {
  critical: number;
  warning: number;
  info: number;
  acknowledged: number;
  silenced: number;
  flapping: number;
}
export interface AlertList {
  total: number;
  firing: Firing;
  alerts: Alert[];
}
export interface Member {
  subject: string;
  device: string | null;
  state: "firing" | "resolving";
  since: number;
  began_at: number;
  value: number | null;
  sentence: string;
}
export interface Transition {
  id: number;
  at: number;
  rule: string;
  subject: string; // empty: the alert as a whole
  alert: string | null;
  what: string;
  value: number | null;
  fire_at: number | null;
  sentence: string;
  actor: string | null;
}
export interface SentNotice {
  id: string;
  channel: string;
  what: string;
  state: "waiting" | "sent" | "failed" | "dropped";
  attempts: number;
  next_try_at: number | null;
  answer: string;
  created_at: number;
  ended_at: number | null;
}
export interface AlertDetail extends Alert {
  members: Member[];
  timeline: Transition[];
  notices: SentNotice[];
  metric: string;
  aggregate: string;
  unit: string;
  direction: Direction;
  fire_at: number | null;
  resolve_at: number | null;
  note: string;
}

export type RuleKind = "threshold" | "rate" | "drift" | "baseline" | "absence" | "server";
export type Direction = "above" | "below";
export interface Rule {
  name: string;
  title: string;
  kind: RuleKind;
  severity: Severity;
  enabled: boolean;
  metric: string;
  aggregate: string;
  window_s: number;
  direction: Direction;
  fire_at: number;
  resolve_at: number | null;
  for_s: number;
  resolve_for_s: number;
  least: number;
  also: { metric: string; direction: Direction; value: number }[];
  baseline: { against: "own" | "profile" | "predicted"; hours: number; deviations: number } | null;
  absent: "offline" | "telemetry";
  query: string;
  per: "device" | "profile" | "artifact" | "fleet";
  group_by: string[];
  channels: string[];
  repeat_s: number;
  runbook: string;
  note: string;
}
export interface KeptRule extends Rule {
  unit: string;
  words: string;
  shipped: boolean;
  changed: boolean;
  runbook_link: string;
  firing: number;
  updated_at: number;
  actor: string | null;
}
interface Choosable {
  name: string;
  title: string;
  unit: string;
  aggregates?: string[];
}
export interface RuleChoices {
  kinds: RuleKind[];
  severities: Severity[];
  metrics: Choosable[];
  rates: Choosable[];
  drift: Choosable[];
  server: Choosable[];
  channels: string[];
}
interface WouldHaveFired {
  subject: string;
  from_ms: number;
  to_ms: number | null;
  worst: number;
  sentence: string;
}
export interface RuleTest {
  from_ms: number;
  to_ms: number;
  step_ms: number;
  subjects: number;
  without_data: number;
  times: number;
  firings: WouldHaveFired[];
  words: string;
  now: WouldHaveFired[];
}

export interface Silence {
  id: string;
  rule: string;
  query: string;
  starts_at: number;
  ends_at: number;
  repeats: "no" | "daily" | "weekly";
  until: number | null;
  reason: string;
  created_by: string;
  created_at: number;
  ended_by: string | null;
  ended_at: number | null;
  state: "holding" | "coming" | "over";
  words: string;
}

export type ChannelKind = "webhook" | "email" | "mqtt";
export interface Channel {
  name: string;
  kind: ChannelKind;
  enabled: boolean;
  least_severity: Severity;
  options: Record<string, unknown>;
  has_secret: boolean;
  waiting: number;
  sent_at: number | null;
  failed_at: number | null;
  failure: string;
  updated_at: number;
  actor: string | null;
}
export interface ChannelTest {
  ok: boolean;
  answer: string;
  took_ms: number;
}

export interface Runbook {
  name: string;
  title: string;
  text: string;
}
