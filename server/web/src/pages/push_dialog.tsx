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
import { FIRST_POLICY, readPolicy } from "../text/policy";
import { PolicyFields } from "./push_policy";

const NOTHING: Ticks = { profiles: new Set(), devices: new Set() };

export function PushDialog({ model, onClose }: { model: Model; onClose: () => void }) {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 2000 });
  const profiles = useResource<Profile[]>("/profiles");
  const datasets = useResource<Dataset[]>("/datasets", { on: touches("dataset") });
  const [recipeName, setRecipeName] = useState("");
  const [dataset, setDataset] = useState(model.dataset ?? "");
  const recipes = useResource<Recipe[]>(dataset ? `/recipes?dataset=${encodeURIComponent(dataset)}` : "/recipes");
  const [ticks, setTicks] = useState<Ticks>(NOTHING);
  const [policy, setPolicy] = useState(FIRST_POLICY);

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
            disabled={action.busy || !targets || !recipe || needsData || typeof readPolicy(policy) === "string"}
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
