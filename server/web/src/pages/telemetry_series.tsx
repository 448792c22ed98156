// The groups of an answer as a table: their figure over the whole range, before, and which are drawn.

import type { MetricFacts, QueryAnswer, QuerySeries } from "../api/telemetry";
import { lineColor, lineDash, MAX_LINES } from "../plot/colors";
import { Spark } from "../plot/spark";
import { plural } from "../text/format";
import { aggregateWord, better, change, changeWords, type Format, gravestFirst } from "../text/metrics";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";
import { useDark } from "../ui/theme";

interface Props {
  answer: QueryAnswer;
  before: QueryAnswer | undefined;
  metric: MetricFacts;
  format: Format;
  drawn: readonly string[];
  onDraw: ((names: readonly string[]) => void) | null; // null: nothing is drawn as lines
  onOnly: (where: string) => void;
}

export function SeriesTable({ answer, before, metric, format, drawn, onDraw, onOnly }: Props) {
  const dark = useDark();
  const rows = gravestFirst(answer.series, answer.aggregate);
  const choosable = onDraw !== null && rows.length > 1;
  const full = drawn.length >= MAX_LINES;
  const toggle = (name: string) =>
    onDraw?.(drawn.includes(name) ? drawn.filter((each) => each !== name) : [...drawn, name].sort());
  return (
    <Card
      flush
      title="Over the whole range"
      note={choosable && rows.length > drawn.length ? `${drawn.length} of ${rows.length} are drawn; tick others.` : undefined}
    >
      <div class="table-box tall" tabIndex={0} role="region" aria-label="Over the whole range">
        <table class="stacking series-table">
          <thead>
            <tr>
              <th scope="col">{answer.group_by === "none" ? "All together" : answer.group_by.replace("label:", "")}</th>
              <th scope="col" class="num">
                {aggregateWord(answer.aggregate, metric)}
              </th>
              {before && (
                <th scope="col" class="num">
                  Before
                </th>
              )}
              {before && (
                <th scope="col" class="num">
                  Change
                </th>
              )}
              <th scope="col" class="col-2">
                Over time
              </th>
              <th scope="col" class="num col-2">
                Devices
              </th>
              <th scope="col" class="num col-3">
                Samples
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((each) => {
              const i = drawn.indexOf(each.name);
              const old = before?.series.find((other) => other.name === each.name)?.total ?? null;
              const percentage = change(each.total, old);
              const good = better(metric.name, percentage);
              return (
                <tr key={each.name} data-testid={`series-${each.name || "all"}`}>
                  <th scope="row">
                    <span class="with-check">
                      {choosable && (
                        <input
                          type="checkbox"
                          checked={i >= 0}
                          disabled={(i < 0 && full) || (i >= 0 && drawn.length === 1)}
                          onChange={() => toggle(each.name)}
                          aria-label={`Draw ${each.title}`}
                        />
                      )}
                      {i >= 0 && onDraw && (
                        <span class={`key ${lineDash(i) ? "dashed" : ""}`} style={{ "--key": lineColor(i, dark) }} aria-hidden="true" />
                      )}
                      <Name answer={answer} series={each} onOnly={onOnly} />
                    </span>
                  </th>
                  <td class="num">
                    <b>{format(each.total)}</b>
                  </td>
                  {before && <td class="num">{format(old)}</td>}
                  {before && (
                    <td class="num">
                      <span class={good === null ? "" : good ? "change good" : "change bad"}>{changeWords(percentage)}</span>
                    </td>
                  )}
                  <td class="col-2">
                    <Spark values={thinned(each.values)} label={`${each.title} over the range`} />
                  </td>
                  <td class="num col-2">{each.devices === null ? "–" : each.devices.toLocaleString("en-US")}</td>
                  <td class="num col-3">{each.samples.toLocaleString("en-US")}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {rows.length > 8 && (
        <div class="table-foot">
          <span class="note">{plural(rows.length, "row")}</span>
        </div>
      )}
    </Card>
  );
}

function Name({ answer, series, onOnly }: { answer: QueryAnswer; series: QuerySeries; onOnly: (where: string) => void }) {
  const name = encodeURIComponent(series.name);
  if (series.name === "") return <span>{series.title || "all"}</span>;
  switch (answer.group_by) {
    case "device":
      return <Link href={`/devices/${name}`}>{series.title}</Link>;
    case "model":
      return <Link href={`/models/${name}?tab=field`}>{series.title}</Link>;
    case "profile":
      return (
        <button type="button" class="text" title="Show its devices one by one" onClick={() => onOnly(`profile = ${series.name}`)}>
          {series.title}
        </button>
      );
    case "artifact":
      return <span title={series.name}>{series.title}</span>;
    default: {
      const key = answer.group_by.replace("label:", "");
      return (
        <button
          type="button"
          class="text"
          title="Show its devices one by one"
          onClick={() => onOnly(`label.${key} = ${JSON.stringify(series.name)}`)}
        >
          {series.title}
        </button>
      );
    }
  }
}

/** A word-sized line needs no 600 points; of each run its last value stays. */
function thinned(values: readonly (number | null)[], most = 84): (number | null)[] {
  const step = Math.ceil(values.length / most);
  return step <= 1 ? [...values] : values.filter((_, i) => i % step === step - 1);
}
