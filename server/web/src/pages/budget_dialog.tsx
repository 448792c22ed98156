import { useState } from "preact/hooks";
import { post } from "../api/client";
import type { Budget } from "../api/findings";
import { type Resource, touches, useResource } from "../api/resource";
import type { Device, Model, Profile } from "../api/types";
import { body, type BudgetForm, emptyForm, formOf, problems, watches } from "../text/budget_form";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Failure } from "../ui/parts";

interface Props {
  model: Model;
  profiles: Resource<Profile[]>;
  budget: Budget | null; // to change; null: a new one
  onClose: () => void;
}

const NUMBERS: readonly (readonly [Exclude<keyof BudgetForm, "auto" | "minutes">, string, string])[] = [
  ["latency_ms", "Latency p95, ms", "Of one inference on the device, as telemetry shows it."],
  ["memory_mb", "Memory, MB", "Of the whole agent, the model in it."],
  ["energy_mj", "Energy, mJ", "Of one inference, where the device can tell."],
  ["drop_points", "May lose, points", "Of accuracy, when a search looks for something better."],
  ["size_mb", "Artifact, MB", "At most this, when a search looks for something better."],
  ["prediction_percent", "Prediction off by, %", "Further off than this, the profile is measured anew."],
];

export function BudgetDialog({ model, profiles, budget, onClose }: Props) {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 3000 });
  const [form, setForm] = useState<BudgetForm>(budget ? formOf(budget) : emptyForm);
  const [chosen, setChosen] = useState(budget?.profile ?? "");
  const all = profiles.value ?? [];
  const fleet = (id: string) => (devices.value ?? []).filter((each) => each.profile === id && each.status !== "revoked").length;
  // Profiles with devices first: only those can be watched.
  const sorted = [...all].sort((a, b) => fleet(b.id) - fleet(a.id) || a.name.localeCompare(b.name));
  const profile = chosen || sorted[0]?.id || "";
  const wrong = problems(form);
  const able = profile !== "" && Object.keys(wrong).length === 0 && watches(form);
  const action = useAction(() => post("/budgets", body(model.name, profile, form, budget)), onClose);
  return (
    <Dialog title={budget ? `Budget of ${model.name} on ${budget.profile}` : `A budget for ${model.name}`} onClose={onClose} testid="budget-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (able) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {profiles.error && <Failure error={profiles.error} retry={profiles.reload} />}
          {!budget && (
            <Field label="Profile" hint="Every device of this profile that runs the model is held against it.">
              {(ids) => (
                <select {...ids} value={profile} onChange={(event) => setChosen(event.currentTarget.value)} data-testid="budget-profile">
                  {sorted.map((each) => (
                    <option key={each.id} value={each.id}>
                      {each.name}
                    </option>
                  ))}
                </select>
              )}
            </Field>
          )}
          <div class="pair-fields">
            {NUMBERS.map(([name, label, hint]) => (
              <Field key={name} label={label} hint={hint} problem={wrong[name]}>
                {(ids) => (
                  <input
                    {...ids}
                    inputMode="decimal"
                    placeholder="no limit"
                    value={form[name]}
                    onInput={(event) => setForm({ ...form, [name]: event.currentTarget.value })}
                    data-testid={`budget-${name}`}
                  />
                )}
              </Field>
            ))}
          </div>
          <Field label="Missed for, minutes" hint="Before anything is said or done." problem={wrong.minutes}>
            {(ids) => (
              <input
                {...ids}
                inputMode="numeric"
                value={form.minutes}
                onInput={(event) => setForm({ ...form, minutes: event.currentTarget.value })}
                data-testid="budget-minutes"
              />
            )}
          </Field>
          <label class="check line">
            <input
              type="checkbox"
              checked={form.auto}
              onChange={(event) => setForm({ ...form, auto: event.currentTarget.checked })}
              data-testid="budget-auto"
            />
            Act by itself
          </label>
          <p class="hint">Measure the devices, search, release and roll out what is found, without asking.</p>
          {!watches(form) && <p class="hint">Give a latency, a memory, an energy or a prediction error to watch for.</p>}
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!able || action.busy} data-testid="budget-submit">
            {budget ? "Change it" : "Set it"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
