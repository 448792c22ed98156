// The measure of an alert as a question about telemetry: the same metric, of whom it concerns, around its time.

import type { AlertDetail } from "../api/alerts";
import type { Aggregate, Catalogue } from "../api/telemetry";
import { metricOf, type Question } from "./question";

const MOST = 8; // lines that can be told apart with a threshold between
const MINUTE = 60_000;

const AGGREGATES: Record<string, Aggregate> = { per_s: "rate" };

/** Null where the rule watches no metric of telemetry: absence, the server itself. */
export function alertQuestion(alert: AlertDetail, catalogue: Catalogue, now: number): Question | null {
  const metric = metricOf(catalogue, alert.metric);
  if (!metric) return null;
  const asked = AGGREGATES[alert.aggregate] ?? (alert.aggregate as Aggregate);
  const aggregate = metric.aggregates.includes(asked) ? asked : null;
  // From somewhat before it began to somewhat after it ended, in whole minutes: a live one is read again each minute.
  const lasted = (alert.resolved_at ?? now) - alert.opened_at;
  const around = Math.max(20 * MINUTE, lasted * 0.35);
  const from = Math.floor((alert.opened_at - around) / MINUTE) * MINUTE;
  const to = Math.ceil((alert.resolved_at === null ? now : Math.min(now, alert.resolved_at + around / 2)) / MINUTE) * MINUTE;
  const [kind, ...rest] = alert.first_subject.split(":");
  const name = rest.join(":");
  const base: Question = {
    metric: metric.name,
    aggregate,
    groupBy: "none",
    where: "",
    model: "",
    artifact: "",
    lastMs: null,
    from,
    to,
    stepMs: null,
    view: "line",
    compare: false,
  };
  switch (kind) {
    case "device": {
      const gravest = [...alert.members]
        .filter((member) => member.device !== null)
        .sort((a, b) => ((b.value ?? 0) - (a.value ?? 0)) * (alert.direction === "below" ? -1 : 1))
        .slice(0, MOST)
        .map((member) => member.device!);
      const devices = gravest.length > 0 ? gravest : [name];
      return { ...base, groupBy: "device", where: devices.length === 1 ? `name = ${devices[0]}` : `name in (${devices.join(", ")})` };
    }
    case "profile":
      return { ...base, where: `profile = ${name}` };
    case "artifact":
      return { ...base, artifact: name };
    default:
      return base;
  }
}
