// Keep a rule quiet for some devices and some time: for work on them, or each night.

import { useState } from "preact/hooks";
import type { Alert, KeptRule, Silence } from "../api/alerts";
import { post } from "../api/client";
import { useResource } from "../api/resource";
import { date } from "../text/format";
import { Dialog, useAction } from "../ui/dialog";
import { Choice, Field } from "../ui/field";
import { Failure } from "../ui/parts";
import { QueryMatches } from "./groups";

const LENGTHS = [
  ["60", "1 h"],
  ["240", "4 h"],
  ["1440", "1 day"],
  ["10080", "1 week"],
  ["own", "Until …"],
] as const;
const REPEATS = [
  ["no", "Once"],
  ["daily", "Every day"],
  ["weekly", "Every week"],
] as const;

/** The devices that an alert is about, as a query. */
function queryOf(alert: Alert | null): string {
  if (!alert) return "";
  if (alert.subjects === 1 && alert.first_subject.startsWith("device:")) return `name = ${alert.first_subject.slice(7)}`;
  return Object.entries(alert.scope)
    .filter(([key, value]) => value !== "" && key !== "artifact" && key !== "rollout")
    .map(([key, value]) => `${key === "profile" || key === "model" ? key : `label.${key.replace("label:", "")}`} = ${/^[\w.-]+$/.test(value) ? value : JSON.stringify(value)}`)
    .join(" and ");
}

const local = (ms: number) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

export function SilenceDialog({ about, onClose, then }: { about: Alert | null; onClose: () => void; then?: () => void }) {
  const rules = useResource<KeptRule[]>("/alert-rules");
  const [rule, setRule] = useState(about?.rule ?? "");
  const [query, setQuery] = useState(queryOf(about));
  const [reason, setReason] = useState("");
  const [length, setLength] = useState<(typeof LENGTHS)[number][0]>("60");
  const [start, setStart] = useState("");
  const [end, setEnd] = useState(local(Date.now() + 2 * 3_600_000));
  const [repeats, setRepeats] = useState<Silence["repeats"]>("no");
  const starts = start === "" ? null : Date.parse(start);
  const ends = length === "own" ? Date.parse(end) : (starts ?? Date.now()) + Number(length) * 60_000;
  const problem = !Number.isFinite(ends) || ends <= (starts ?? Date.now()) ? "It must end after it begins." : null;
  const save = useAction(
    () =>
      post("/alert-silences", {
        rule,
        query: query.trim(),
        starts_at: starts,
        ends_at: length === "own" ? ends : (starts ?? Date.now()) + Number(length) * 60_000,
        repeats,
        until: null,
        reason: reason.trim(),
      }).then(then),
    onClose,
  );
  const ready = reason.trim() !== "" && problem === null;
  return (
    <Dialog title={about ? `Silence: ${about.title}` : "New silence"} onClose={onClose} wide testid="silence-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) save.run();
        }}
      >
        <div class="dialog-body">
          {save.error && <Failure error={save.error} />}
          <Field label="Rule">
            {(ids) => (
              <select {...ids} value={rule} onChange={(event) => setRule(event.currentTarget.value)} data-testid="silence-rule">
                <option value="">every rule</option>
                {rule !== "" && !(rules.value ?? []).some((each) => each.name === rule) && <option value={rule}>{rule}</option>}
                {(rules.value ?? []).map((each) => (
                  <option key={each.name} value={each.name}>
                    {each.title}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Of which devices" hint="Empty: of all.">
            {(ids) => (
              <input
                {...ids}
                class="mono"
                spellcheck={false}
                autocomplete="off"
                placeholder="site = hall-3"
                value={query}
                onInput={(event) => setQuery(event.currentTarget.value)}
                data-testid="silence-query"
              />
            )}
          </Field>
          <QueryMatches query={query} />
          <div class="row">
            <Choice label="How long" value={length} options={LENGTHS} onChange={setLength} testid="silence-length" />
            <Choice label="Repeats" value={repeats} options={REPEATS} onChange={setRepeats} />
          </div>
          <div class="pair-fields">
            <Field label="From" hint="Empty: from now on.">
              {(ids) => <input {...ids} type="datetime-local" value={start} onInput={(event) => setStart(event.currentTarget.value)} />}
            </Field>
            {length === "own" && (
              <Field label="Until" problem={problem}>
                {(ids) => <input {...ids} type="datetime-local" value={end} onInput={(event) => setEnd(event.currentTarget.value)} data-testid="silence-end" />}
              </Field>
            )}
          </div>
          <Field label="Why" hint="Others see it, with your name.">
            {(ids) => (
              <input
                {...ids}
                maxLength={500}
                autofocus
                placeholder="work on the line in hall 3"
                value={reason}
                onInput={(event) => setReason(event.currentTarget.value)}
                data-testid="silence-reason"
              />
            )}
          </Field>
        </div>
        <footer>
          {problem === null && (
            <span class="footer-note">
              {repeats === "no" ? `Until ${date(ends)}` : `${repeats === "daily" ? "Each day" : "Each week"} until ${new Date(ends).toTimeString().slice(0, 5)}, until you end it`}
            </span>
          )}
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!ready || save.busy} data-testid="silence-submit">
            Silence
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
