// Which stretch of time a page shows: one of the usual ones, or from one moment to another.

import { useState } from "preact/hooks";
import { between, lastOf, localText, type Range, rangeProblem, RANGES } from "../text/range";
import { Choice, Field } from "./field";

interface Props {
  range: Range;
  onChange: (change: Record<string, string | null>) => void; // of the address
}

const OPTIONS = [...RANGES.map(([key, text]) => [key, text] as const), ["custom", "From … to"] as const];

export function RangePicker({ range, onChange }: Props) {
  const [typing, setTyping] = useState(range.key === "custom");
  const open = typing || range.key === "custom";
  return (
    <div class="range" data-testid="range">
      <select
        class="range-select"
        aria-label="Range"
        value={open ? "custom" : range.key}
        onChange={(event) => choose(event.currentTarget.value)}
      >
        {OPTIONS.map(([key, text]) => (
          <option key={key} value={key}>
            {key === "custom" ? text : `Last ${text}`}
          </option>
        ))}
      </select>
      <div class="range-choice">
        <Choice label="Range" value={open ? "custom" : range.key} options={OPTIONS} onChange={choose} />
      </div>
      {open && <Between key={`${range.from} ${range.to}`} range={range} onChange={onChange} />}
    </div>
  );

  function choose(key: string) {
    setTyping(key === "custom");
    if (key === "custom") onChange(between(range.from, range.to));
    else onChange(lastOf(key));
  }
}

function Between({ range, onChange }: Props) {
  const [from, setFrom] = useState(localText(range.from));
  const [to, setTo] = useState(localText(range.to));
  const [start, end] = [new Date(from).getTime(), new Date(to).getTime()];
  const problem = rangeProblem(start, end);
  return (
    <form
      class="range-between"
      onSubmit={(event) => {
        event.preventDefault();
        if (problem === null) onChange(between(start, end));
      }}
    >
      <Field label="From">
        {(ids) => (
          <input {...ids} type="datetime-local" value={from} onInput={(event) => setFrom(event.currentTarget.value)} data-testid="range-from" />
        )}
      </Field>
      <Field label="To">
        {(ids) => (
          <input {...ids} type="datetime-local" value={to} onInput={(event) => setTo(event.currentTarget.value)} data-testid="range-to" />
        )}
      </Field>
      <button type="submit" disabled={problem !== null} data-testid="range-show">
        Show
      </button>
      {problem && (
        <p class="problem" role="status">
          {problem}
        </p>
      )}
    </form>
  );
}
