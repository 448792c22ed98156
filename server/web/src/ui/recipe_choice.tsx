// Choosing a recipe: grouped by what kind of method it is; those whose data are missing say so and cannot be chosen.

import type { Recipe } from "../api/types";
import { groups, needsWords } from "../text/recipes";
import { Field } from "./field";

interface Props {
  recipes: readonly Recipe[];
  chosen: Recipe | undefined;
  onChoose: (name: string) => void;
  testid: string;
}
export function RecipeChoice({ recipes, chosen, onChoose, testid }: Props) {
  return (
    <Field
      label="Recipe"
      hint={chosen ? [chosen.description, chosen.source].filter(Boolean).join(" ") : "How it is compressed."}
      problem={chosen?.lacks ? `${chosen.name} ${chosen.lacks}.` : null}
    >
      {(ids) => (
        <select
          {...ids}
          value={chosen?.name ?? ""}
          onChange={(event) => onChoose(event.currentTarget.value)}
          data-testid={testid}
        >
          {groups(recipes).map(([kind, members]) => (
            <optgroup key={kind} label={kind}>
              {members.map((each) => (
                <option key={each.name} value={each.name} disabled={each.lacks !== null && each.name !== chosen?.name}>
                  {each.name}
                  {needsWords(each)}
                </option>
              ))}
            </optgroup>
          ))}
        </select>
      )}
    </Field>
  );
}
