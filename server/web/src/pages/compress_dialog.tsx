import { useState } from "preact/hooks";
import { post } from "../api/client";
import { type Resource, touches, useResource } from "../api/resource";
import type { Device, Job, Model, Profile, Recipe } from "../api/types";
import { plural } from "../text/format";
import { pick } from "../text/recipes";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Failure } from "../ui/parts";
import { RecipeChoice } from "../ui/recipe_choice";

interface Props {
  model: Model;
  profiles: Resource<Profile[]>;
  onClose: () => void;
}

const CODINGS = [
  ["", "the recipe's own", "Most recipes take the automatic choice."],
  ["auto", "automatic", "The fewest bytes; the slower coder only where it saves 1 % or more."],
  ["fast", "fast to decode", "Decodes several times faster on the device, for a few per cent more bytes."],
  ["small", "smallest", "The fewest bytes, however long the device takes to decode them."],
] as const;

/** Compress without pushing, to see what it costs and gains. */
export function CompressDialog({ model, profiles, onClose }: Props) {
  const recipes = useResource<Recipe[]>(model.dataset ? `/recipes?dataset=${encodeURIComponent(model.dataset)}` : "/recipes");
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 3000 });
  const [recipeName, setRecipeName] = useState("");
  const [coding, setCoding] = useState("");
  const [kilobytes, setKilobytes] = useState("");
  const [ticked, setTicked] = useState<ReadonlySet<string>>(new Set());
  const recipe = pick(recipes.value ?? [], recipeName);
  const needsData = !!recipe?.lacks;
  const budgetBytes = recipe?.takes_budget && kilobytes !== "" ? Math.round(Number(kilobytes) * 1000) : null;
  const badBudget = budgetBytes !== null && !(budgetBytes >= 1 && budgetBytes < 2 ** 31);
  const action = useAction(
    () =>
      post<Job[]>("/jobs", {
        model: model.name,
        recipe: recipe?.name,
        profiles: [...ticked],
        options: { ...(coding ? { coding } : {}), ...(budgetBytes === null ? {} : { target_bytes: budgetBytes }) },
      }),
    onClose,
  );
  const fleet = (id: string) =>
    (devices.value ?? []).filter((device) => device.profile === id && device.status !== "revoked").length;
  const toggle = (id: string) => {
    const next = new Set(ticked);
    if (!next.delete(id)) next.add(id);
    setTicked(next);
  };
  // Profiles with devices first: they are why one compresses.
  const sorted = [...(profiles.value ?? [])].sort((a, b) => fleet(b.id) - fleet(a.id) || a.name.localeCompare(b.name));
  return (
    <Dialog title={`Compress ${model.name}`} onClose={onClose} testid="compress-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (recipe && ticked.size > 0 && !needsData && !badBudget) action.run();
        }}
      >
        <div class="dialog-body">
          {action.error && <Failure error={action.error} />}
          {recipes.error && <Failure error={recipes.error} retry={recipes.reload} />}
          <RecipeChoice recipes={recipes.value ?? []} chosen={recipe} onChoose={setRecipeName} testid="compress-recipe" />
          {recipe?.takes_budget && (
            <Field
              label="Size of the artifact, kB"
              hint="At most this, everything counted. Empty: the recipe's own."
              problem={badBudget ? "Give a number of kilobytes, such as 400." : null}
            >
              {(ids) => (
                <input
                  {...ids}
                  inputMode="decimal"
                  value={kilobytes}
                  onInput={(event) => setKilobytes(event.currentTarget.value.trim())}
                  data-testid="compress-budget"
                />
              )}
            </Field>
          )}
          <Field label="Coding" hint={CODINGS.find(([name]) => name === coding)?.[2]}>
            {(ids) => (
              <select
                {...ids}
                value={coding}
                onChange={(event) => setCoding(event.currentTarget.value)}
                data-testid="compress-coding"
              >
                {CODINGS.map(([name, label]) => (
                  <option key={name} value={name}>
                    {label}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <fieldset>
            <legend class="legend-line">Profiles</legend>
            {profiles.error && <Failure error={profiles.error} retry={profiles.reload} />}
            <ul class="targets">
              {sorted.map((each) => (
                <li key={each.id}>
                  <label class="check line">
                    <input
                      type="checkbox"
                      checked={ticked.has(each.id)}
                      onChange={() => toggle(each.id)}
                      data-testid={`compress-profile-${each.id}`}
                    />
                    {each.name}
                    {fleet(each.id) > 0 && <small>{plural(fleet(each.id), "device")}</small>}
                  </label>
                </li>
              ))}
            </ul>
          </fieldset>
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            class="primary"
            disabled={action.busy || ticked.size === 0 || !recipe || needsData || badBudget}
            data-testid="compress-submit"
          >
            {ticked.size > 1 ? `Start ${ticked.size} jobs` : "Start the job"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
