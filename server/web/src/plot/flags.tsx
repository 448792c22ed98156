// Flags over a chart: a line down, a label on top where there is room, and what they stand for on hover or focus.

import { useEffect, useRef, useState } from "preact/hooks";
import { date, plural } from "../text/format";
import { Link } from "../ui/link";
import { type Annotation, annotationTone, type Flag, flagTone } from "./annotations";

const CHAR_PX = 6.2; // of the label's type, on average
const LISTED = 8;

/** They lie over the plotting area; the parent places it. */
export function Flags({ of }: { of: readonly Flag[] }) {
  const [open, setOpen] = useState<number | null>(null);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (open === null) return;
    const away = (event: Event) => {
      if (!(event.target instanceof Node) || !root.current?.contains(event.target)) setOpen(null);
    };
    const escape = (event: KeyboardEvent) => event.key === "Escape" && setOpen(null);
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", escape);
    };
  }, [open]);
  return (
    <div class="flags" ref={root} onMouseLeave={() => setOpen(null)}>
      {of.map((flag, i) => {
        const fits = Math.min(26, Math.floor((flag.roomPx - 14) / CHAR_PX));
        const word = flag.items.length > 1 ? String(flag.items.length) : clipped(flag.items[0]!.label, fits);
        return (
          <div
            key={`${flag.items[0]!.at}${flag.items[0]!.label}`}
            class={`flag ${flagTone(flag.items)} ${open === i ? "open" : ""}`}
            style={{ left: `${flag.x * 100}%` }}
          >
            <button
              type="button"
              class={word === "" ? "flag-head bare" : "flag-head"}
              aria-expanded={open === i}
              aria-label={flag.items.map((each) => `${each.label}, ${date(each.at)}`).slice(0, LISTED).join("; ")}
              onMouseEnter={() => setOpen(i)}
              onFocus={() => setOpen(i)}
              onClick={() => setOpen(i)}
              data-testid="chart-flag"
            >
              {word}
            </button>
            {open === i && (
              <ul class={flag.x > 0.55 ? "flag-list left" : "flag-list"}>
                <Notes items={flag.items} />
              </ul>
            )}
          </div>
        );
      })}
    </div>
  );
}

/** The same as a list under the chart, where a finger cannot hover. */
export function FlagList({ items }: { items: readonly Annotation[] }) {
  if (items.length === 0) return null;
  return (
    <details class="flag-notes">
      <summary>{plural(items.length, "mark")} on this chart</summary>
      <ul>
        <Notes items={[...items].sort((a, b) => b.at - a.at)} />
      </ul>
    </details>
  );
}

function Notes({ items }: { items: readonly Annotation[] }) {
  return (
    <>
      {items.slice(0, LISTED).map((each) => (
        <li key={`${each.at}${each.label}`} class={annotationTone(each.kind)}>
          <time>{date(each.at)}</time>
          {each.href ? <Link href={each.href}>{each.label}</Link> : <span>{each.label}</span>}
        </li>
      ))}
      {items.length > LISTED && <li class="note">and {items.length - LISTED} more</li>}
    </>
  );
}

const clipped = (text: string, most: number) =>
  text.length <= most ? text : most < 6 ? "" : text.slice(0, most - 1).trimEnd() + "…";
