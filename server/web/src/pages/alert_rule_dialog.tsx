// One rule: what it watches, of whom, when it fires and resolves, whom it tells; and what it would have said.

import { useState } from "preact/hooks";
import type { KeptRule, Rule, RuleChoices, RuleKind } from "../api/alerts";
import { post, put } from "../api/client";
import { useResource } from "../api/resource";
import { KINDS } from "../text/alerts";
import { bodyOf, nameFor, NEW_RULE, ruleOf, ruleProblem, withKind } from "../text/rule_form";
import { Dialog, useAction } from "../ui/dialog";
import { Choice, Field } from "../ui/field";
import { Failure, Loaded } from "../ui/parts";
import { Scope, Tells, Watches } from "./alert_rule_fields";
import { DryRun } from "./alert_rule_test";

interface Props {
  rule: KeptRule | null; // null: a new one
  may: boolean; // else it is only looked at
  onClose: () => void;
  reload: () => void;
}

const SEVERITIES = [
  ["info", "Info"],
  ["warning", "Warning"],
  ["critical", "Critical"],
] as const;

export function RuleDialog({ rule: kept, may, onClose, reload }: Props) {
  const choices = useResource<RuleChoices>("/alert-rules/choices");
  return (
    <Dialog title={kept ? kept.title : "New rule"} onClose={onClose} wide testid="rule-dialog">
      {choices.value ? (
        <RuleForm kept={kept} may={may} choices={choices.value} onClose={onClose} reload={reload} />
      ) : (
        <div class="dialog-body">
          <Loaded from={choices}>{() => null}</Loaded>
        </div>
      )}
    </Dialog>
  );
}

function RuleForm({ kept, may, choices, onClose, reload }: { kept: KeptRule | null; may: boolean; choices: RuleChoices; onClose: () => void; reload: () => void }) {
  const [rule, setRule] = useState<Rule>(kept ? ruleOf(kept) : NEW_RULE);
  const [named, setNamed] = useState(kept !== null);
  const set = (change: Partial<Rule>) => setRule((old) => ({ ...old, ...change }));
  const problem = ruleProblem(rule);
  const path = `/alert-rules/${encodeURIComponent(rule.name)}`;
  const save = useAction(() => (kept ? put(path, bodyOf(rule)) : post("/alert-rules", rule)).then(reload), onClose);
  const reset = useAction(() => post(`${path}/reset`).then(reload), onClose);
  const [tested, setTested] = useState<string | null>(null);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (may && problem === null) save.run();
      }}
    >
      <div class="dialog-body">
        <fieldset class="stack" disabled={!may}>
          {(save.error ?? reset.error) && <Failure error={(save.error ?? reset.error)!} />}
          {kept && !may && <p>{kept.words}</p>}
          <div class="pair-fields">
            <Field label="Title">
              {(ids) => (
                <input
                  {...ids}
                  autofocus={!kept}
                  maxLength={80}
                  value={rule.title}
                  onInput={(event) => {
                    const title = event.currentTarget.value;
                    set(named ? { title } : { title, name: nameFor(title) });
                  }}
                  data-testid="rule-title"
                />
              )}
            </Field>
            {!kept && (
              <Field label="Name" hint="For commands and links; it stays.">
                {(ids) => (
                  <input
                    {...ids}
                    class="mono"
                    maxLength={63}
                    value={rule.name}
                    onInput={(event) => {
                      setNamed(true);
                      set({ name: event.currentTarget.value });
                    }}
                    data-testid="rule-name"
                  />
                )}
              </Field>
            )}
          </div>
          <div class="row apart">
            <Choice label="Severity" value={rule.severity} options={SEVERITIES} onChange={(severity) => set({ severity })} testid="rule-severity" />
            <label class="check">
              <input type="checkbox" checked={rule.enabled} onChange={(event) => set({ enabled: event.currentTarget.checked })} />
              Switched on
            </label>
          </div>
          <Kinds rule={rule} choices={choices} onChange={(kind) => setRule(withKind(rule, kind, choices))} fixed={kept?.shipped ?? false} />
          <Watches rule={rule} choices={choices} set={set} setRule={setRule} />
          {rule.kind !== "server" && <Scope rule={rule} set={set} />}
          <Tells rule={rule} channels={choices.channels} set={set} />
        </fieldset>
        {tested !== null && <DryRun key={tested} body={JSON.parse(tested) as Rule} />}
      </div>
      <footer>
        {problem && may && <span class="footer-note">{problem}</span>}
        {may && kept?.shipped && kept.changed && (
          <button type="button" disabled={reset.busy} onClick={reset.run} data-testid="rule-reset">
            As it came
          </button>
        )}
        <button type="button" disabled={problem !== null} onClick={() => setTested(JSON.stringify(rule))} data-testid="rule-test">
          Try on the last 24 h
        </button>
        {may ? (
          <button type="submit" class="primary" disabled={problem !== null || save.busy} data-testid="rule-save">
            Save
          </button>
        ) : (
          <button type="button" onClick={onClose}>
            Close
          </button>
        )}
      </footer>
    </form>
  );
}

function Kinds({ rule, choices, onChange, fixed }: { rule: Rule; choices: RuleChoices; onChange: (kind: RuleKind) => void; fixed: boolean }) {
  const kinds = fixed ? [rule.kind] : choices.kinds;
  return (
    <div class="rule-kind" role="radiogroup" aria-label="Kind of rule">
      {kinds.map((kind) => (
        <label key={kind}>
          <input type="radio" name="rule-kind" checked={rule.kind === kind} onChange={() => onChange(kind)} data-testid={`rule-kind-${kind}`} />
          <b>{KINDS[kind]?.title ?? kind}</b>
          <small>{KINDS[kind]?.what}</small>
        </label>
      ))}
    </div>
  );
}
