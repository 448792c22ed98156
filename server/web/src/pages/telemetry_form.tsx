// The parts of a question: what, of whom, when, shown how.

import { useEffect, useState } from "preact/hooks";
import type { Aggregate, Catalogue } from "../api/telemetry";
import { aggregateWord, families } from "../text/metrics";
import { groupWord, metricOf, type Question, RANGES, STEPS, type View, withMetric } from "../text/question";
import { Choice, Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { QueryMatches } from "./groups";

interface Props {
  catalogue: Catalogue;
  models: readonly string[];
  question: Question;
  set: (change: Partial<Question>, how?: "push" | "replace") => void;
}

const VIEWS: readonly (readonly [View, string])[] = [
  ["line", "Over time"],
  ["table", "Table"],
  ["spread", "Spread"],
];

export function QuestionForm({ catalogue, models, question, set }: Props) {
  const metric = metricOf(catalogue, question.metric);
  const groups = catalogue.group_by.filter((each) => !each.startsWith("label:"));
  const labels = catalogue.labels.map((key) => `label:${key}`);
  const listed = new Set([...groups, ...labels]);
  return (
    <div class="question">
      <div class="question-row">
        <Field label="Metric">
          {(ids) => (
            <select
              {...ids}
              value={metric?.name ?? ""}
              onChange={(event) => {
                const chosen = metricOf(catalogue, event.currentTarget.value);
                if (chosen) set(withMetric(question, chosen));
              }}
              data-testid="query-metric"
            >
              {!metric && <option value="">Choose one</option>}
              {families([...catalogue.histograms, ...catalogue.metrics]).map(([family, some]) => (
                <optgroup key={family} label={family}>
                  {some.map((each) => (
                    <option key={each.name} value={each.name}>
                      {each.title}
                    </option>
                  ))}
                </optgroup>
              ))}
            </select>
          )}
        </Field>
        <Field label="Shown as">
          {(ids) => (
            <select
              {...ids}
              value={question.aggregate ?? metric?.aggregate ?? ""}
              onChange={(event) => set({ aggregate: event.currentTarget.value as Aggregate })}
              data-testid="query-aggregate"
            >
              {(metric?.aggregates ?? []).map((each) => (
                <option key={each} value={each}>
                  {aggregateWord(each, metric)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="One line for each">
          {(ids) => (
            <select
              {...ids}
              value={question.groupBy}
              onChange={(event) => set({ groupBy: event.currentTarget.value })}
              data-testid="query-group-by"
            >
              {groups.map((each) => (
                <option key={each} value={each}>
                  {groupWord(each)}
                </option>
              ))}
              {!listed.has(question.groupBy) && <option value={question.groupBy}>{groupWord(question.groupBy)}</option>}
              {labels.length > 0 && (
                <optgroup label="Labels">
                  {labels.map((each) => (
                    <option key={each} value={each}>
                      {groupWord(each)}
                    </option>
                  ))}
                </optgroup>
              )}
            </select>
          )}
        </Field>
        <Field label="While it ran">
          {(ids) => (
            <select {...ids} value={question.model} onChange={(event) => set({ model: event.currentTarget.value })} data-testid="query-model">
              <option value="">any model</option>
              {[...new Set([...models, ...(question.model ? [question.model] : [])])].map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <Where question={question} set={set} />
      {question.artifact && (
        <p class="row">
          <span class="tag">
            only artifact <code>{question.artifact.slice(0, 16)}</code>
          </span>
          <button type="button" class="text" onClick={() => set({ artifact: "" })}>
            any artifact
          </button>
        </p>
      )}
      <TimeRow question={question} set={set} />
    </div>
  );
}

/** Which devices; asked as soon as it is typed to the end, which the Enter key and leaving the field say. */
function Where({ question, set }: Pick<Props, "question" | "set">) {
  const [text, setText] = useState(question.where);
  const [typing, setTyping] = useState(false);
  useEffect(() => setText(question.where), [question.where]);
  const done = () => {
    setTyping(false);
    if (text.trim() !== question.where) set({ where: text.trim() });
  };
  return (
    <div class="stack tight">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          done();
        }}
      >
        <Field label="Of which devices">
          {(ids) => (
            <input
              {...ids}
              class="mono"
              spellcheck={false}
              autocomplete="off"
              autocapitalize="none"
              placeholder='all of them; or such as: site = "hall 3" and online'
              value={text}
              onInput={(event) => {
                setTyping(true);
                setText(event.currentTarget.value);
              }}
              onBlur={done}
              data-testid="query-where"
            />
          )}
        </Field>
      </form>
      {(typing || text.trim() !== "") && <QueryMatches query={text} />}
      <details class="more where-help">
        <summary>How to say which</summary>
        <p class="note">
          <code>profile = raspberry-pi-4</code>, <code>name = press-0*</code>, <code>name in (press-01, press-02)</code>,{" "}
          <code>label.site = hall-3</code> or <code>site = hall-3</code>, <code>not label.test</code>, <code>group = canaries</code>,{" "}
          <code>agent &lt; 0.6</code>, <code>model = digits and release &lt; 12</code>, joined by <code>and</code>, <code>or</code>, with
          parentheses. Devices are chosen as they are now; what they ran then is for “While it ran”.
        </p>
      </details>
    </div>
  );
}

function TimeRow({ question, set }: Pick<Props, "question" | "set">) {
  const [custom, setCustom] = useState(false);
  const fixed = question.lastMs === null;
  const value = fixed ? "fixed" : String(question.lastMs);
  const options: (readonly [string, string])[] = RANGES.map(([ms, word]) => [String(ms), word] as const);
  if (!fixed && !options.some(([each]) => each === value)) options.push([value, `${Math.round(question.lastMs! / 60_000)} min`]);
  return (
    <div class="stack tight">
      <div class="row apart">
        <Choice
          label="Range"
          value={custom && !fixed ? "custom" : value}
          options={[...options, fixed ? (["fixed", "From … to"] as const) : (["custom", "From … to"] as const)]}
          onChange={(chosen) => {
            if (chosen === "custom" || chosen === "fixed") setCustom(true);
            else {
              setCustom(false);
              set({ lastMs: Number(chosen), from: null, to: null, stepMs: null });
            }
          }}
          testid="query-range"
        />
        <label class="row step-choice">
          <span class="hint">Step</span>
          <select
            class="inline"
            value={question.stepMs === null ? "" : String(question.stepMs)}
            onChange={(event) => set({ stepMs: Number(event.currentTarget.value) || null })}
            data-testid="query-step"
          >
            <option value="">as it fits</option>
            {question.stepMs !== null && !STEPS.some(([ms]) => ms === question.stepMs) && (
              <option value={String(question.stepMs)}>{Math.round(question.stepMs / 1000)} s</option>
            )}
            {STEPS.map(([ms, word]) => (
              <option key={ms} value={String(ms)}>
                {word}
              </option>
            ))}
          </select>
        </label>
      </div>
      <div class="row apart">
        <Choice label="View" value={question.view} options={VIEWS} onChange={(view) => set({ view })} testid="query-view" />
        <label class="check">
          <input
            type="checkbox"
            checked={question.compare}
            onChange={(event) => set({ compare: event.currentTarget.checked })}
            data-testid="query-compare"
          />
          Compare with the time before
        </label>
      </div>
      {(fixed || custom) && <Between question={question} set={set} />}
    </div>
  );
}

function Between({ question, set }: Pick<Props, "question" | "set">) {
  const now = Date.now();
  const [from, setFrom] = useState(local(question.from ?? now - (question.lastMs ?? 3_600_000)));
  const [to, setTo] = useState(local(question.to ?? now));
  useEffect(() => {
    if (question.from !== null) setFrom(local(question.from));
    if (question.to !== null) setTo(local(question.to));
  }, [question.from, question.to]);
  const [start, end] = [Date.parse(from), Date.parse(to)];
  const good = Number.isFinite(start) && Number.isFinite(end) && start < end;
  return (
    <form
      class="between"
      onSubmit={(event) => {
        event.preventDefault();
        if (good) set({ lastMs: null, from: start, to: end, stepMs: null });
      }}
    >
      <Field label="From">
        {(ids) => <input {...ids} type="datetime-local" step="1" value={from} onInput={(event) => setFrom(event.currentTarget.value)} data-testid="query-from" />}
      </Field>
      <Field label="To" problem={good ? null : "must lie after “From”"}>
        {(ids) => <input {...ids} type="datetime-local" step="1" value={to} onInput={(event) => setTo(event.currentTarget.value)} data-testid="query-to" />}
      </Field>
      <button type="submit" disabled={!good}>
        <Icon name="check" />
        Show
      </button>
    </form>
  );
}

/** As a datetime-local field wants it: the wall clock here. */
function local(ms: number): string {
  const shifted = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}
