// How values spread within each group over the whole range: percentiles of a histogram, or the least, mean and most.

import { useResource } from "../api/resource";
import type { Aggregate, MetricFacts, QueryAnswer } from "../api/telemetry";
import { useKept } from "../api/use_annotations";
import { place, type Scale } from "../plot/scale";
import { formatOf } from "../text/metrics";
import { over, type Question, questionPath } from "../text/question";
import { Card, Failure, Skeleton } from "../ui/parts";

type Three = readonly [Aggregate, Aggregate, Aggregate];
const PERCENTILES: Three = ["p50", "p95", "p99"];
const EXTREMES: Three = ["min", "mean", "max"];

/** Which three figures span a metric; null where it has no such. */
function three(metric: MetricFacts): Three | null {
  return [PERCENTILES, EXTREMES].find((all) => all.every((each) => metric.aggregates.includes(each))) ?? null;
}

interface Props {
  question: Question;
  metric: MetricFacts;
  answer: QueryAnswer;
}
export function SpreadView({ question, metric, answer }: Props) {
  const of = three(metric);
  if (of === null) {
    return (
      <Card title="Spread">
        <p class="note">
          {metric.title} is counted, so it has no spread within a group. Look at a latency, or at what is measured again and again, such as
          memory or temperature.
        </p>
      </Card>
    );
  }
  return <Spans question={question} metric={metric} answer={answer} of={of} />;
}

function Spans({ question, metric, answer, of }: Props & { of: Three }) {
  // One step over the range is enough, as coarse as the API takes it; what is looked at is `total`.
  const step = Math.min(86_400_000, Math.max(answer.step_ms, Math.ceil((answer.to - answer.from) / 50)));
  const path = (aggregate: Aggregate) =>
    questionPath({ ...over(question, answer.from, answer.to, step), aggregate });
  const found = [
    useResource<QueryAnswer>(path(of[0])),
    useResource<QueryAnswer>(path(of[1])),
    useResource<QueryAnswer>(path(of[2])),
  ];
  const answers = [useKept(found[0]!.value), useKept(found[1]!.value), useKept(found[2]!.value)];
  const error = found.find((each) => each.error)?.error;
  if (error) return <Failure error={error} />;
  if (answers.some((each) => each === undefined)) {
    return (
      <Card title="Spread">
        <Skeleton lines={5} />
      </Card>
    );
  }
  const format = formatOf(answers[0]!.unit, of[0], metric.kind);
  const totals = (name: string) => answers.map((each) => each!.series.find((series) => series.name === name)?.total ?? null);
  const rows = answers[2]!.series
    .map((series) => ({ name: series.name, title: series.title, at: totals(series.name) }))
    .sort((a, b) => (b.at[2] ?? -Infinity) - (a.at[2] ?? -Infinity));
  const all = rows.flatMap((row) => row.at).filter((value): value is number => value !== null);
  const least = Math.min(...all);
  const most = Math.max(...all);
  const scale: Scale = { low: of === PERCENTILES ? 0 : least < 0 || least > most * 0.5 ? least - (most - least) * 0.1 : 0, high: most || 1 };
  return (
    <Card title={`${metric.title}: ${of.join(", ")}`} note={of === PERCENTILES ? "Of all requests of each group in the range" : "Of all samples of each group in the range"}>
      <ul class="spans" data-testid="answer-spread">
        {rows.map((row) => {
          const [low, middle, high] = row.at.map((value) => (value === null ? null : place(value, scale)));
          return (
            <li key={row.name}>
              <span class="spans-name">{row.title || "all"}</span>
              <span class="spans-track" aria-hidden="true">
                {low !== null && high !== null && <span class="spans-range" style={{ left: `${low}%`, width: `${high! - low!}%` }} />}
                {row.at.map((value, i) => value !== null && <span key={i} class={`spans-dot at-${i}`} style={{ left: `${[low, middle, high][i]}%` }} />)}
              </span>
              <span class="spans-text">
                {of.map((aggregate, i) => (
                  <span key={aggregate}>
                    <span class="hint">{aggregate}</span> {format(row.at[i] ?? null)}
                  </span>
                ))}
              </span>
            </li>
          );
        })}
      </ul>
    </Card>
  );
}
