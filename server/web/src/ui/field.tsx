import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  problem?: string | null | undefined;
  children: (ids: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ComponentChildren;
}

/** A labelled control with its hint and what is wrong with its value. */
export function Field({ label, hint, problem, children }: FieldProps) {
  const id = useId();
  const about = `${id}-about`;
  const said = problem || hint;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, ...(said ? { "aria-describedby": about } : {}), ...(problem ? { "aria-invalid": true } : {}) })}
      {said && (
        <p id={about} class={problem ? "problem" : "hint"}>
          {said}
        </p>
      )}
    </div>
  );
}

/** Mutually exclusive choices as a row of buttons; arrow keys move, as radios do. */
interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  testid?: string;
}
export function Choice<T extends string>({ label, value, options, onChange, testid }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset class="choice" data-testid={testid}>
      <legend class="visually-hidden">{label}</legend>
      {options.map(([option, text]) => (
        <label key={option} class={option === value ? "chosen" : ""}>
          <input
            type="radio"
            name={name}
            value={option}
            checked={option === value}
            onChange={() => onChange(option)}
          />
          {text}
        </label>
      ))}
    </fieldset>
  );
}
