// What has just been found, wherever one is; and how many alerts want somebody, beside the navigation.

import { useEffect, useState } from "preact/hooks";
import type { Firing, Severity } from "../api/alerts";
import { onChange } from "../api/live";
import { touches, useResource } from "../api/resource";
import { badgeTone, severityWords, wanting } from "../text/alerts";
import { Icon } from "./icon";
import { Link } from "./link";

const SHOWN = 3;
const STAYS_MS = 12_000;

interface Toast {
  id: string; // of the alert
  title: string;
  message: string;
  severity: Severity;
  at: number;
}

const said = (value: unknown): string => (typeof value === "string" ? value : "");

export function AlertToasts() {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  useEffect(
    () =>
      onChange((change) => {
        if (change === "missed" || change.kind !== "alert") return;
        if (change.action === "resolved" || change.action === "acknowledged") {
          setToasts((old) => old.filter((each) => each.id !== change.subject));
        }
        if (change.action !== "opened" && change.action !== "reopened") return;
        const severity = said(change.data["severity"]);
        const toast: Toast = {
          id: change.subject,
          title: said(change.data["title"]) || said(change.data["rule"]),
          message: said(change.data["message"]),
          severity: severity === "critical" || severity === "info" ? severity : "warning",
          at: Date.now(),
        };
        setToasts((old) => [...old.filter((each) => each.id !== toast.id), toast].slice(-SHOWN));
      }),
    [],
  );
  useEffect(() => {
    // Critical ones stay until somebody has looked.
    const passing = toasts.filter((each) => each.severity !== "critical");
    if (passing.length === 0) return;
    const next = Math.min(...passing.map((each) => each.at)) + STAYS_MS - Date.now();
    const timer = window.setTimeout(
      () => setToasts((old) => old.filter((each) => each.severity === "critical" || Date.now() - each.at < STAYS_MS)),
      Math.max(next, 50) + 20,
    );
    return () => window.clearTimeout(timer);
  }, [toasts]);
  const drop = (id: string) => setToasts((old) => old.filter((each) => each.id !== id));
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <div key={toast.id} class={`toast ${severityWords[toast.severity].tone}`} data-testid="toast">
          <Icon name="alert" />
          <div onClick={() => drop(toast.id)}>
            <Link href={`/alerts/${encodeURIComponent(toast.id)}`}>{toast.title}</Link>
            <p>{toast.message}</p>
          </div>
          <button type="button" class="ghost" aria-label={`Hide: ${toast.title}`} onClick={() => drop(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

/** How many alerts fire that nobody has acknowledged or silenced; nothing where there are none. */
export function AlertBadge() {
  const firing = useResource<Firing>("/alerts/summary", { on: touches("alert"), everyMs: 1000, pollMs: 60_000 });
  const count = firing.value ? wanting(firing.value) : 0;
  if (!firing.value || count === 0) return null;
  return (
    <span class={`nav-badge ${badgeTone(firing.value)}`} data-testid="alert-badge">
      {count > 99 ? "99+" : count}
      <span class="visually-hidden"> firing</span>
    </span>
  );
}
