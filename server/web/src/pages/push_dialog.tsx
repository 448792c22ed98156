import { useState } from "preact/hooks";
import { post } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Dataset, Device, Model, Profile, Push, Recipe } from "../api/types";
import { plural } from "../text/format";
import { pick } from "../text/recipes";
import { isTicked, pushTargets, reachable, type Ticks, toggleDevice, toggleProfile } from "../text/targets";
import { deviceWords } from "../text/words";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Link } from "../ui/link";
import { Failure, Notice, Skeleton } from "../ui/parts";
import { RecipeChoice } from "../ui/recipe_choice";
import { navigate } from "../ui/route";

const NOTHING: Ticks = { profiles: new Set(), devices: new Set() };

export function PushDialog({ model, onClose }: { model: Model; onClose: () => void }) {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 2000 });
  const profiles = useResource<Profile[]>("/profiles");
  const datasets = useResource<Dataset[]>("/datasets", { on: touches("dataset") });
  const [recipeName, setRecipeName] = useState("");
  const [dataset, setDataset] = useState(model.dataset ?? "");
  const recipes = useResource<Recipe[]>(dataset ? `/recipes?dataset=${encodeURIComponent(dataset)}` : "/recipes");
  const [ticks, setTicks] = useState<Ticks>(NOTHING);
  const [policy, setPolicy] = useState({ canary: "1", failed: "0", soak: "0", p95: "", rss: "" });

  const recipe = pick(recipes.value ?? [], recipeName);
  const all = reachable(devices.value ?? []);
  const chosen = all.filter((device) => isTicked(ticks, device));
  const targets = pushTargets(ticks, all);
  const action = useAction(async () => {
    const made = await post<Push>("/push", {
      model: model.name,
      recipe: recipe?.name,
      ...targets,
      ...(dataset ? { dataset } : {}),
      policy: readPolicy(policy),
    });
    onClose();
    navigate(`/push/${made.id}`);
  });
  const failed = recipes.error ?? devices.error;
  const needsData = !!recipe?.lacks;

  return (
    <Dialog title={`Push ${model.name}`} onClose={onClose} wide testid="push-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (targets && recipe && !needsData) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {failed && <Failure error={failed} />}
          <div class="fields">
            <RecipeChoice recipes={recipes.value ?? []} chosen={recipe} onChoose={setRecipeName} testid="push-recipe" />
            <Field
              label="Data set"
              hint="For fine-tuning, calibration and the measured accuracy."
            >
              {(ids) => (
                <select
                  {...ids}
                  value={dataset}
                  onChange={(event) => setDataset(event.currentTarget.value)}
                  data-testid="push-dataset"
                >
                  {!model.dataset && <option value="">None</option>}
                  {(datasets.value ?? []).map((each) => (
                    <option key={each.name} value={each.name}>
                      {each.name}
                    </option>
                  ))}
                </select>
              )}
            </Field>
          </div>
          <fieldset>
            <legend class="legend-line">Devices</legend>
            {devices.value === undefined ? (
              devices.error ? null : <Skeleton lines={3} />
            ) : all.length === 0 ? (
              <Notice tone="warn">
                <p>
                  {devices.value.length === 0 ? "There is no device yet. " : "No device is enrolled yet. "}
                  <Link href="/devices">Register and enrol one</Link> first.
                </p>
              </Notice>
            ) : (
              <TargetList
                devices={all}
                profiles={profiles.value ?? []}
                model={model}
                recipe={recipe?.name ?? ""}
                ticks={ticks}
                onChange={setTicks}
              />
            )}
          </fieldset>
          <PolicyFields policy={policy} onChange={setPolicy} />
        </div>
        <footer>
          <span class="footer-note" role="status">
            {saying(chosen)}
          </span>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            class="primary"
            disabled={action.busy || !targets || !recipe || needsData}
            data-testid="push-submit"
          >
            {action.busy ? "Starting" : "Push"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function saying(chosen: readonly Device[]): string {
  if (chosen.length === 0) return "Choose devices or whole profiles.";
  const profiles = new Set(chosen.map((device) => device.profile)).size;
  const offline = chosen.filter((device) => device.status === "offline").length;
  const later = offline > 0 ? `; ${offline} offline, served when back` : "";
  return `${plural(chosen.length, "device")} of ${plural(profiles, "profile")}${later}`;
}

interface TargetProps {
  devices: readonly Device[];
  profiles: readonly Profile[];
  model: Model;
  recipe: string;
  ticks: Ticks;
  onChange: (ticks: Ticks) => void;
}
function TargetList({ devices, profiles, model, recipe, ticks, onChange }: TargetProps) {
  const groups = [...new Set(devices.map((device) => device.profile))].sort();
  return (
    <ul class="targets">
      {groups.map((id) => {
        const members = devices.filter((device) => device.profile === id);
        const ticked = members.filter((device) => isTicked(ticks, device)).length;
        const ready = model.artifacts.some((each) => each.profile === id && each.recipe === recipe);
        return (
          <li key={id}>
            <label class="check profile-line">
              <input
                type="checkbox"
                checked={ticks.profiles.has(id)}
                ref={(input) => {
                  if (input) input.indeterminate = !ticks.profiles.has(id) && ticked > 0;
                }}
                onChange={() => onChange(toggleProfile(ticks, id, devices))}
                data-testid={`push-profile-${id}`}
              />
              {profiles.find((each) => each.id === id)?.name ?? id}
              <small>
                {plural(members.length, "device")}
                {ready ? ", compressed already" : ""}
              </small>
            </label>
            <ul>
              {members.map((device) => (
                <li key={device.name}>
                  <label class="check">
                    <input
                      type="checkbox"
                      checked={isTicked(ticks, device)}
                      onChange={() => onChange(toggleDevice(ticks, device, devices))}
                      data-testid={`push-device-${device.name}`}
                    />
                    {device.name}
                    <small>
                      {deviceWords[device.status].text}
                      {device.running?.model ? `, runs ${device.running.model} (${device.running.recipe})` : ""}
                    </small>
                  </label>
                </li>
              ))}
            </ul>
          </li>
        );
      })}
    </ul>
  );
}

interface PolicyText {
  canary: string;
  failed: string;
  soak: string;
  p95: string;
  rss: string;
}

/** The policy as the API takes it: µs and bytes; an empty limit is none. */
function readPolicy(text: PolicyText) {
  const whole = (value: string) => Math.max(0, Math.round(Number(value) || 0));
  const limits = {
    ...(Number(text.p95) > 0 ? { p95_us: Math.round(Number(text.p95) * 1000) } : {}),
    ...(Number(text.rss) > 0 ? { rss_bytes: Math.round(Number(text.rss) * 1024 * 1024) } : {}),
  };
  return {
    canary_per_profile: whole(text.canary),
    max_failed: whole(text.failed),
    soak_s: whole(text.soak),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
  };
}

const POLICY: readonly (readonly [keyof PolicyText, string, string, string])[] = [
  ["canary", "Canaries a profile", "Devices that try it first; 0 for all at once.", "push-canary"],
  ["failed", "Failures allowed", "One more pauses the rollout.", "push-max-failed"],
  ["soak", "Soak, seconds", "Watched this long at the end.", "push-soak"],
  ["p95", "p95 latency limit, ms", "On the device, in its trial. Empty: none.", "push-limit-p95"],
  ["rss", "Memory growth limit, MiB", "Of the agent, by this model. Empty: none.", "push-limit-rss"],
];

function PolicyFields({ policy, onChange }: { policy: PolicyText; onChange: (policy: PolicyText) => void }) {
  return (
    <details class="more">
      <summary data-testid="push-policy">
        Safety: {policy.canary === "0" ? "no canary" : plural(Number(policy.canary) || 0, "canary", "canaries")} a
        profile first, then the others
      </summary>
      <div class="fields">
        {POLICY.map(([key, label, hint, testid]) => (
          <Field key={key} label={label} hint={hint}>
            {(ids) => (
              <input
                {...ids}
                type="number"
                min="0"
                step={key === "p95" ? "any" : "1"}
                value={policy[key]}
                onInput={(event) => onChange({ ...policy, [key]: event.currentTarget.value })}
                data-testid={testid}
              />
            )}
          </Field>
        ))}
      </div>
    </details>
  );
}
