// The values of an answer, newest first, as numbers.

import { useState } from "preact/hooks";
import type { QueryAnswer } from "../api/telemetry";
import { date, plural, time } from "../text/format";
import type { Format } from "../text/metrics";
import { Card } from "../ui/parts";

const PAGE = 100;

interface Props {
  answer: QueryAnswer;
  names: readonly string[];
  format: Format;
  title: string;
}
export function ValueTable({ answer, names, format, title }: Props) {
  const [shown, setShown] = useState(PAGE);
  const columns = names.map((name) => answer.series.find((each) => each.name === name)!);
  const rows = answer.t
    .map((at, i) => ({ at, values: columns.map((each) => each.values[i] ?? null) }))
    .filter(({ values }) => values.some((value) => value !== null))
    .reverse();
  const when = answer.to - answer.from > 86_400_000 || answer.step_ms >= 60_000 ? date : time;
  return (
    <Card flush title={title} note="Newest first; a dash is a step in which nothing was measured.">
      <div class="table-box tall" tabIndex={0} role="region" aria-label={title} data-testid="answer-values">
        <table>
          <thead>
            <tr>
              <th scope="col">From</th>
              {columns.map((each) => (
                <th key={each.name} scope="col" class="num">
                  {each.title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, shown).map(({ at, values }) => (
              <tr key={at}>
                <th scope="row" class="when">
                  {when(at)}
                </th>
                {values.map((value, i) => (
                  <td key={columns[i]!.name} class="num">
                    {format(value)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="table-foot">
        <span class="note">
          {Math.min(shown, rows.length)} of {plural(rows.length, "step")}
        </span>
        {rows.length > shown && (
          <button type="button" class="small" onClick={() => setShown(shown + PAGE * 5)}>
            Show more
          </button>
        )}
      </div>
    </Card>
  );
}
