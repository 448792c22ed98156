// Say what is needed; the server searches how.

import { useState } from "preact/hooks";
import { post } from "../api/client";
import { type Resource, touches, useResource } from "../api/resource";
import type { Search } from "../api/searches";
import type { Device, Model, Profile } from "../api/types";
import { emptySearch, hasLimit, type Limit, searchBody, type SearchForm, searchProblems } from "../text/search_form";
import { reachable } from "../text/targets";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Failure } from "../ui/parts";
import { navigate } from "../ui/route";

interface Props {
  model: Model;
  profiles: Resource<Profile[]>;
  onClose: () => void;
}

const LIMITS: readonly (readonly [Limit, string, string])[] = [
  ["latency_ms", "Latency, ms", "p50 of one sample on the device."],
  ["size_mb", "Artifact, MB", "What is sent to the device."],
  ["drop_points", "May lose, points", "Of accuracy on the data set."],
  ["memory_mb", "Memory, MB", "To load and run it."],
  ["energy_mj", "Energy, mJ", "Of one inference."],
];

export function SearchDialog({ model, profiles, onClose }: Props) {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 3000 });
  const [form, setForm] = useState<SearchForm>(emptySearch);
  const [chosen, setChosen] = useState("");
  const all = devices.value ?? [];
  const fleet = (id: string) => reachable(all).filter((device) => device.profile === id).length;
  // Profiles with devices first: they are why one searches.
  const sorted = [...(profiles.value ?? [])].sort((a, b) => fleet(b.id) - fleet(a.id) || a.name.localeCompare(b.name));
  const profile = chosen || sorted[0]?.id || "";
  const able = reachable(all).filter((device) => device.profile === profile);
  const device = able.some((each) => each.name === form.device) ? form.device : "";
  const typed = { ...form, device, drop_points: model.dataset ? form.drop_points : "" };
  const wrong = searchProblems(typed);
  const ready = profile !== "" && Object.keys(wrong).length === 0 && hasLimit(typed);
  const action = useAction(async () => {
    const made = await post<Search>("/searches", searchBody(model.name, profile, typed, model.dataset !== null));
    onClose();
    navigate(`/searches/${made.id}`);
  });
  const change = (part: Partial<SearchForm>) => setForm({ ...form, ...part });
  return (
    <Dialog title={`Search for a budget: ${model.name}`} onClose={onClose} testid="search-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {profiles.error && <Failure error={profiles.error} retry={profiles.reload} />}
          <Field label="Profile" hint="What the device is.">
            {(ids) => (
              <select {...ids} value={profile} onChange={(event) => setChosen(event.currentTarget.value)} data-testid="search-profile">
                {sorted.map((each) => (
                  <option key={each.id} value={each.id}>
                    {each.name}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <fieldset>
            <legend class="legend-line">Budget</legend>
            <div class="pair-fields">
              {LIMITS.filter(([name]) => name !== "drop_points" || model.dataset).map(([name, label, hint]) => (
                <Field key={name} label={label} hint={hint} problem={wrong[name]}>
                  {(ids) => (
                    <input
                      {...ids}
                      inputMode="decimal"
                      placeholder="no limit"
                      value={form[name]}
                      onInput={(event) => change({ [name]: event.currentTarget.value })}
                      data-testid={`search-${name}`}
                    />
                  )}
                </Field>
              ))}
            </div>
            {!model.dataset && <p class="hint">The model has no data set, so nothing can be asked of its accuracy.</p>}
          </fieldset>
          <div class="pair-fields">
            <Field label="Time, minutes" hint="Of work; waiting is not counted." problem={wrong.minutes}>
              {(ids) => (
                <input {...ids} inputMode="decimal" value={form.minutes} onInput={(event) => change({ minutes: event.currentTarget.value })} data-testid="search-minutes" />
              )}
            </Field>
            <Field label="Workers" hint="Processes of the server, side by side." problem={wrong.workers}>
              {(ids) => (
                <input {...ids} inputMode="numeric" value={form.workers} onInput={(event) => change({ workers: event.currentTarget.value })} data-testid="search-workers" />
              )}
            </Field>
          </div>
          <Field
            label="Device in the loop"
            hint={
              able.length === 0
                ? "No enrolled device has this profile; latencies are predicted."
                : "The best candidates are rolled out to it and measured there; it gets back what it ran."
            }
          >
            {(ids) => (
              <select {...ids} value={device} disabled={able.length === 0} onChange={(event) => change({ device: event.currentTarget.value })} data-testid="search-device">
                <option value="">None</option>
                {able.map((each) => (
                  <option key={each.name} value={each.name}>
                    {each.name}
                    {each.status === "offline" ? " (offline)" : ""}
                  </option>
                ))}
              </select>
            )}
          </Field>
        </div>
        <footer>
          {!hasLimit(typed) && <span class="footer-note">Give one limit at least.</span>}
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!ready || action.busy} data-testid="search-submit">
            Search
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
