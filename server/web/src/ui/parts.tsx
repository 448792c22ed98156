// The small parts every page is made of.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import type { Resource } from "../api/resource";
import type { Tone, Word } from "../text/words";
import { Icon, type IconName } from "./icon";
import { hasMoved } from "./route";

export function Badge({ word, testid }: { word: Word; testid?: string }) {
  return (
    <span class={`badge ${word.tone}`} data-testid={testid}>
      <span class="dot" aria-hidden="true" />
      {word.text}
    </span>
  );
}

export function Meter({ value, label, tone = "busy" }: { value: number; label: string; tone?: Tone }) {
  const share = Math.round(Math.min(1, Math.max(0, value)) * 100);
  return (
    <div
      class={`meter ${tone}`}
      role="progressbar"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={share}
      aria-label={label}
    >
      <div style={{ width: `${share}%` }} />
    </div>
  );
}

interface PageProps {
  title: string;
  lead?: ComponentChildren;
  actions?: ComponentChildren;
  above?: ComponentChildren; // a way back
  children: ComponentChildren;
}
/** A page: its heading takes the focus when the route changes, so that a screen reader says where one is. */
export function Page({ title, lead, actions, above, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · edgepress`;
  }, [title]);
  useEffect(() => {
    if (!hasMoved()) return;
    if (document.activeElement === document.body || document.activeElement?.closest("nav")) {
      heading.current?.focus({ preventScroll: true });
    }
  }, []);
  return (
    <>
      {above && <div class="above">{above}</div>}
      <header class="page-head">
        <div>
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {lead && <p class="lead">{lead}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

interface CardProps {
  title?: ComponentChildren;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
  flush?: boolean; // a table fills it to the edge
  testid?: string;
  class?: string;
}
export function Card({ title, note, actions, children, flush, testid, class: extra }: CardProps) {
  return (
    <section class={`card ${flush ? "flush" : ""} ${extra ?? ""}`} data-testid={testid}>
      {(title || actions) && (
        <header class="card-head">
          <div>
            {title && <h2>{title}</h2>}
            {note && <p class="note">{note}</p>}
          </div>
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

interface EmptyProps {
  icon: IconName;
  title: string;
  children: ComponentChildren;
  action?: ComponentChildren;
}
export function Empty({ icon, title, children, action }: EmptyProps) {
  return (
    <div class="empty" data-testid="empty">
      <span class="empty-icon">
        <Icon name={icon} />
      </span>
      <h2>{title}</h2>
      <p>{children}</p>
      {action}
    </div>
  );
}

/** A sentence of the API, its `commands` set as code. */
export function Message({ text }: { text: string }) {
  return <>{text.split("`").map((part, i) => (i % 2 === 1 ? <code key={i}>{part}</code> : part))}</>;
}

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="notice bad" role="alert" data-testid="error">
      <Icon name="alert" />
      <p>
        <Message text={error.message} />
      </p>
      {retry && (
        <button type="button" class="small" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Notice({ tone, children, testid }: { tone: Tone; children: ComponentChildren; testid?: string }) {
  return (
    <div class={`notice ${tone}`} data-testid={testid}>
      <Icon name={tone === "good" ? "check" : tone === "idle" ? "info" : "alert"} />
      <div>{children}</div>
    </div>
  );
}

/** Grey lines where the content will be. They appear late, so that a fast answer does not flicker. */
export function Skeleton({ lines = 4, tall }: { lines?: number; tall?: boolean }) {
  return (
    <div class={`skeleton ${tall ? "tall" : ""}`} role="status" data-testid="loading">
      <span class="visually-hidden">Loading</span>
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} aria-hidden="true" />
      ))}
    </div>
  );
}

interface LoadedProps<T> {
  from: Resource<T>;
  lines?: number;
  children: (value: T) => ComponentChildren;
}
/** In place of content that could not be read. */
function Broken({ error, retry }: { error: ApiError; retry: () => void }) {
  const title =
    error.status === 0 ? "No answer" : error.status === 404 ? "Not here" : error.status === 403 ? "Not allowed" : "This went wrong";
  return (
    <div class="empty broken" role="alert" data-testid="error">
      <span class="empty-icon">
        <Icon name="alert" />
      </span>
      <h2>{title}</h2>
      <p>
        <Message text={error.message} />
      </p>
      {error.status !== 404 && error.status !== 403 && (
        <button type="button" onClick={retry}>
          Try now
        </button>
      )}
    </div>
  );
}

/** The three states of anything read from the API. A failure over an older value keeps showing that value. */
export function Loaded<T>({ from, lines = 4, children }: LoadedProps<T>) {
  if (from.value === undefined) {
    return from.error ? <Broken error={from.error} retry={from.reload} /> : <Skeleton lines={lines} />;
  }
  return (
    <>
      {from.error && (
        <Notice tone="warn">
          <p>
            What you see may be out of date. <Message text={from.error.message} />
          </p>
        </Notice>
      )}
      {children(from.value)}
    </>
  );
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => setCopied(false), 2000);
    return () => window.clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      class="small"
      onClick={() => void navigator.clipboard?.writeText(text).then(() => setCopied(true), () => setCopied(false))}
    >
      <Icon name={copied ? "check" : "copy"} />
      <span aria-live="polite">{copied ? "Copied" : label}</span>
    </button>
  );
}

/** A name and its value, in a description list. */
interface FactProps {
  name: string;
  children: ComponentChildren;
  testid?: string;
  wide?: boolean;
}
export function Fact({ name, children, testid, wide }: FactProps) {
  return (
    <div class={wide ? "fact wide" : "fact"}>
      <dt>{name}</dt>
      <dd data-testid={testid}>{children}</dd>
    </div>
  );
}
