// The fields of a rule: what it watches and its limits; of whom; whom it tells.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Direction, Rule, RuleChoices } from "../api/alerts";
import type { Aggregate } from "../api/telemetry";
import { valueWords } from "../text/alerts";
import { aggregateWord, families } from "../text/metrics";
import { metricsOf, ruleUnit, withMetric } from "../text/rule_form";
import { Field } from "../ui/field";
import { QueryMatches } from "./groups";

interface Props {
  rule: Rule;
  set: (change: Partial<Rule>) => void;
}

const DIRECTIONS: readonly (readonly [Direction, string])[] = [
  ["above", "above"],
  ["below", "below"],
];

export function Watches({ rule, choices, set, setRule }: Props & { choices: RuleChoices; setRule: (rule: Rule) => void }) {
  const offered = metricsOf(rule.kind, choices);
  const metric = offered.find((each) => each.name === rule.metric);
  const aggregates = metric?.aggregates ?? [];
  const unit = ruleUnit(rule, choices);
  const absence = rule.kind === "absence";
  const windowed = rule.kind !== "absence" && rule.kind !== "server";
  return (
    <div class="stack">
      <div class="pair-fields">
        {absence ? (
          <Select
            label="What is absent"
            value={rule.absent}
            options={[
              ["offline", "the device itself: it is offline"],
              ["telemetry", "its telemetry, though it is online"],
            ]}
            onChange={(absent) => set({ absent: absent as Rule["absent"] })}
          />
        ) : (
          <Field label="Watches">
            {(ids) => (
              <select
                {...ids}
                value={rule.metric}
                onChange={(event) => setRule(withMetric(rule, offered.find((each) => each.name === event.currentTarget.value)))}
                data-testid="rule-metric"
              >
                {families(offered).map(([family, some]) => (
                  <optgroup key={family} label={rule.kind === "server" ? "Of the server" : family}>
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
        )}
        {!absence && rule.kind !== "rate" && aggregates.length > 0 && (
          <Select
            label="As"
            value={rule.aggregate}
            options={aggregates.map((each) => [each, each === "per_s" ? "per second" : aggregateWord(each as Aggregate)] as const)}
            onChange={(aggregate) => set({ aggregate })}
            testid="rule-aggregate"
          />
        )}
        {windowed && <Duration label="Over the last" value={rule.window_s} onChange={(window_s) => set({ window_s })} least={60} />}
      </div>
      {rule.kind === "baseline" && rule.baseline && (
        <div class="pair-fields">
          <Select
            label="What is usual"
            value={rule.baseline.against}
            options={[
              ["own", "its own past"],
              ["profile", "other devices of its profile, now"],
              ["predicted", "what was predicted for the artifact"],
            ]}
            onChange={(against) => set({ baseline: { ...rule.baseline!, against: against as "own" } })}
          />
          {rule.baseline.against === "own" && (
            <Numeric label="Hours of its past" value={rule.baseline.hours} onChange={(hours) => set({ baseline: { ...rule.baseline!, hours: hours ?? NaN } })} />
          )}
          <Numeric
            label="And beyond standard deviations"
            hint="0: not asked"
            value={rule.baseline.deviations}
            onChange={(deviations) => set({ baseline: { ...rule.baseline!, deviations: deviations ?? NaN } })}
          />
        </div>
      )}
      <div class="pair-fields">
        {absence ? (
          <Duration label="For longer than" value={rule.fire_at} onChange={(fire_at) => set({ fire_at })} />
        ) : (
          <>
            <Field label="Fires when it is" hint={said(rule.fire_at, unit, rule)}>
              {(ids) => (
                <span class="with-unit">
                  <Input {...ids} value={rule.fire_at} onChange={(value) => set({ fire_at: value ?? NaN })} testid="rule-fire-at" />
                  <select
                    aria-label="Above or below"
                    value={rule.direction}
                    onChange={(event) => set({ direction: event.currentTarget.value as Direction })}
                    data-testid="rule-direction"
                  >
                    {DIRECTIONS.map(([each, word]) => (
                      <option key={each} value={each}>
                        {word} this
                      </option>
                    ))}
                  </select>
                </span>
              )}
            </Field>
            <Field label="Resolves at" hint={rule.resolve_at === null ? "Empty: at the same value." : said(rule.resolve_at, unit, rule)}>
              {(ids) => <Input {...ids} value={rule.resolve_at} onChange={(resolve_at) => set({ resolve_at })} testid="rule-resolve-at" />}
            </Field>
          </>
        )}
      </div>
      <details class="more">
        <summary>How long, how much, and what else</summary>
        <div class="stack">
          <div class="pair-fields">
            {!absence && <Duration label="Fires after" value={rule.for_s} onChange={(for_s) => set({ for_s })} />}
            <Duration label="Resolves after" value={rule.resolve_for_s} onChange={(resolve_for_s) => set({ resolve_for_s })} />
            {windowed && (
              <Numeric
                label="At least samples"
                hint="With fewer it says nothing."
                value={rule.least}
                onChange={(least) => set({ least: least ?? NaN })}
              />
            )}
          </div>
          {windowed && <Also rule={rule} choices={choices} set={set} />}
        </div>
      </details>
    </div>
  );
}

/** The value as people write it, beside the number that the field holds. */
function said(value: number | null, unit: string, rule: Rule): string {
  if (value === null || !Number.isFinite(value)) return unit;
  if (unit.endsWith("an hour")) return `${valueWords(value, unit.replace(/ ?an hour$/, ""))} an hour`;
  if (unit === "" && rule.aggregate !== "ratio") return "";
  return `= ${valueWords(value, unit, rule.kind === "baseline" ? "" : rule.aggregate)}`;
}

function Also({ rule, choices, set }: Props & { choices: RuleChoices }) {
  const change = (i: number, part: Partial<Rule["also"][number]>) =>
    set({ also: rule.also.map((each, j) => (j === i ? { ...each, ...part } : each)) });
  return (
    <div class="stack tight">
      {rule.also.map((each, i) => (
        <div class="pair-fields" key={i}>
          <Select
            label="And"
            value={each.metric}
            options={choices.metrics.map((metric) => [metric.name, metric.title] as const)}
            onChange={(metric) => change(i, { metric })}
          />
          <Field label="Is">
            {(ids) => (
              <span class="with-unit">
                <Input {...ids} value={each.value} onChange={(value) => change(i, { value: value ?? NaN })} />
                <select aria-label="Above or below" value={each.direction} onChange={(event) => change(i, { direction: event.currentTarget.value as Direction })}>
                  {DIRECTIONS.map(([direction, word]) => (
                    <option key={direction} value={direction}>
                      {word} this
                    </option>
                  ))}
                </select>
              </span>
            )}
          </Field>
          <div class="row">
            <button type="button" class="small" onClick={() => set({ also: rule.also.filter((_, j) => j !== i) })}>
              Without it
            </button>
          </div>
        </div>
      ))}
      {rule.also.length < 3 && (
        <div>
          <button
            type="button"
            class="small"
            onClick={() => set({ also: [...rule.also, { metric: choices.metrics[0]?.name ?? "", direction: "above", value: 0 }] })}
          >
            And only when …
          </button>
        </div>
      )}
    </div>
  );
}

const PER = [
  ["device", "each device"],
  ["profile", "each profile, all its devices together"],
  ["artifact", "each artifact"],
  ["fleet", "the fleet as a whole"],
] as const;

export function Scope({ rule, set }: Props) {
  const labels = rule.group_by.filter((each) => each.startsWith("label:")).map((each) => each.slice(6));
  const [label, setLabel] = useState(labels[0] ?? "");
  const plain = ["profile", "artifact", "model"];
  const toggle = (key: string, on: boolean) => set({ group_by: on ? [...rule.group_by, key].slice(0, 3) : rule.group_by.filter((each) => each !== key) });
  return (
    <div class="stack">
      <div class="pair-fields">
        {rule.kind !== "absence" && <Select label="Looked at is" value={rule.per} options={PER} onChange={(per) => set({ per: per as Rule["per"] })} testid="rule-per" />}
        <Field label="Of which devices" hint="Empty: of all.">
          {(ids) => (
            <input
              {...ids}
              class="mono"
              spellcheck={false}
              autocomplete="off"
              placeholder="site = hall-3 and not label.test"
              value={rule.query}
              onInput={(event) => set({ query: event.currentTarget.value })}
              data-testid="rule-query"
            />
          )}
        </Field>
      </div>
      <QueryMatches query={rule.query} />
      <div class="row" role="group" aria-label="What is one alert">
        <span class="hint">One alert for each</span>
        {plain.map((key) => (
          <label class="chip" key={key}>
            <input type="checkbox" checked={rule.group_by.includes(key)} onChange={(event) => toggle(key, event.currentTarget.checked)} />
            {key}
          </label>
        ))}
        <label class="chip">
          <input
            type="checkbox"
            checked={labels.length > 0}
            disabled={label.trim() === ""}
            onChange={(event) => toggle(`label:${label.trim()}`, event.currentTarget.checked)}
          />
          label
          <input
            class="chip-text"
            aria-label="Key of the label"
            placeholder="site"
            size={8}
            value={label}
            onInput={(event) => {
              const key = event.currentTarget.value;
              setLabel(key);
              if (labels.length > 0) {
                const others = rule.group_by.filter((each) => !each.startsWith("label:"));
                set({ group_by: key.trim() === "" ? others : [...others, `label:${key.trim()}`] });
              }
            }}
          />
        </label>
      </div>
    </div>
  );
}

export function Tells({ rule, channels, set }: Props & { channels: readonly string[] }) {
  return (
    <details class="more">
      <summary>Whom it tells, and its runbook</summary>
      <div class="stack">
        {channels.length > 0 && (
          <div class="row" role="group" aria-label="Channels">
            <span class="hint">Channels; none ticked: all</span>
            {channels.map((name) => (
              <label class="chip" key={name}>
                <input
                  type="checkbox"
                  checked={rule.channels.includes(name)}
                  onChange={(event) =>
                    set({ channels: event.currentTarget.checked ? [...rule.channels, name] : rule.channels.filter((each) => each !== name) })
                  }
                />
                {name}
              </label>
            ))}
          </div>
        )}
        <div class="pair-fields">
          <Duration label="Tells again after" value={rule.repeat_s} onChange={(repeat_s) => set({ repeat_s })} hint="0: only once" />
          <Field label="Runbook" hint="A page of ours by its name, or an address.">
            {(ids) => <input {...ids} maxLength={300} value={rule.runbook} onInput={(event) => set({ runbook: event.currentTarget.value })} />}
          </Field>
        </div>
        <Field label="Note">
          {(ids) => <textarea {...ids} rows={2} maxLength={2000} value={rule.note} onInput={(event) => set({ note: event.currentTarget.value })} />}
        </Field>
      </div>
    </details>
  );
}

interface SelectProps {
  label: string;
  value: string;
  options: readonly (readonly [string, string])[];
  onChange: (value: string) => void;
  testid?: string;
}
function Select({ label, value, options, onChange, testid }: SelectProps) {
  return (
    <Field label={label}>
      {(ids) => (
        <select {...ids} value={value} onChange={(event) => onChange(event.currentTarget.value)} data-testid={testid}>
          {options.map(([each, word]) => (
            <option key={each} value={each}>
              {word}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

interface InputProps {
  value: number | null;
  onChange: (value: number | null) => void;
  testid?: string;
  id?: string;
}
/** A number as somebody types it: half a number on the way ("0.", "1e") stays as it is typed. */
function Input({ value, onChange, testid, ...ids }: InputProps) {
  const [text, setText] = useState(value === null || !Number.isFinite(value) ? "" : String(value));
  const typed = text.trim() === "" ? null : Number(text);
  const same = typed === value || (Number.isNaN(typed) && Number.isNaN(value));
  const shown = same ? text : value === null || !Number.isFinite(value) ? text : String(value);
  return (
    <input
      {...ids}
      inputMode="decimal"
      autocomplete="off"
      value={shown}
      onInput={(event) => {
        const next = event.currentTarget.value;
        setText(next);
        onChange(next.trim() === "" ? null : Number(next));
      }}
      data-testid={testid}
    />
  );
}

function Numeric({ label, hint, value, onChange }: { label: string; hint?: ComponentChildren; value: number; onChange: (value: number | null) => void }) {
  return (
    <Field label={label} hint={hint}>
      {(ids) => <Input {...ids} value={value} onChange={onChange} />}
    </Field>
  );
}

const UNITS = [
  [1, "seconds"],
  [60, "minutes"],
  [3600, "hours"],
  [86_400, "days"],
] as const;

/** A length of time in the largest unit that it fills; kept in seconds. */
function Duration({ label, value, onChange, hint, least = 0 }: { label: string; value: number; onChange: (seconds: number) => void; hint?: string; least?: number }) {
  const [unit, setUnit] = useState<number>([...UNITS].reverse().find(([size]) => value >= size && value % size === 0)?.[0] ?? (value === 0 ? 60 : 1));
  return (
    <Field label={label} hint={hint} problem={value < least ? `at least ${least} s` : null}>
      {(ids) => (
        <span class="with-unit">
          <Input {...ids} value={Number.isFinite(value) ? value / unit : value} onChange={(given) => onChange(given === null ? NaN : Math.round(given * unit))} />
          <select
            aria-label="Unit"
            value={String(unit)}
            onChange={(event) => {
              const next = Number(event.currentTarget.value);
              if (Number.isFinite(value)) onChange(Math.round((value / unit) * next));
              setUnit(next);
            }}
          >
            {UNITS.map(([size, word]) => (
              <option key={size} value={String(size)}>
                {word}
              </option>
            ))}
          </select>
        </span>
      )}
    </Field>
  );
}
