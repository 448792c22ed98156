// The answer to a question: lines over time, a table of values, or how the values spread.

import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import { useResource } from "../api/resource";
import type { MetricFacts, QueryAnswer } from "../api/telemetry";
import { useAnnotations, useKept } from "../api/use_annotations";
import { Chart } from "../plot/chart";
import { MAX_LINES } from "../plot/colors";
import { plural, span } from "../text/format";
import { formatOf, gravestFirst } from "../text/metrics";
import { over, type Question, questionPath, renewMs } from "../text/question";
import { Card, Empty, Failure, Notice, Skeleton } from "../ui/parts";
import { SeriesTable } from "./telemetry_series";
import { SpreadView } from "./telemetry_spread";
import { ValueTable } from "./telemetry_values";

interface Props {
  question: Question;
  metric: MetricFacts;
  set: (change: Partial<Question>) => void;
  zoom: (from: number, to: number) => void;
  zoomOut: () => void;
  actions: (from: number, to: number, stepMs: number) => ComponentChildren;
}

export function Answer({ question, metric, set, zoom, zoomOut, actions }: Props) {
  const poll = renewMs(question);
  const fresh = useResource<QueryAnswer>(questionPath(question), poll ? { pollMs: poll, everyMs: 1000 } : {});
  const answer = useKept(fresh.value);
  const failure = fresh.error && <QueryFailure error={fresh.error} retry={fresh.reload} />;
  if (answer === undefined) return <Card>{failure ?? <Skeleton lines={3} tall />}</Card>;
  return (
    <>
      {failure}
      <Shown question={question} metric={metric} answer={answer} busy={fresh.value === undefined && !fresh.error} {...{ set, zoom, zoomOut, actions }} />
    </>
  );
}

/** What is wrong with the question is said where it is asked too; asking it again would not help. */
function QueryFailure({ error, retry }: { error: ApiError; retry: () => void }) {
  if (error.code === "bad_query") return <p class="note">The answer waits until it is clear which devices are meant.</p>;
  return error.status === 400 ? <Failure error={error} /> : <Failure error={error} retry={retry} />;
}

function Shown({ question, metric, answer, busy, set, zoom, zoomOut, actions }: Props & { answer: QueryAnswer; busy: boolean }) {
  const rangeMs = answer.to - answer.from;
  const earlier = useResource<QueryAnswer>(
    question.compare ? questionPath(over(question, answer.from - rangeMs, answer.from, answer.step_ms)) : null,
  );
  const previous = useKept(earlier.value);
  const before = question.compare ? previous : undefined;
  const format = formatOf(answer.unit, answer.aggregate, metric.kind);
  const [picked, setPicked] = useState<readonly string[] | null>(null);
  const names = useMemo(() => {
    const largest = gravestFirst(answer.series, answer.aggregate).filter((each) => each.total !== null);
    const offered = new Set(answer.series.map((each) => each.name));
    const chosen = picked?.filter((name) => offered.has(name));
    return chosen?.length ? chosen : largest.slice(0, before ? MAX_LINES / 2 : MAX_LINES).map((each) => each.name).sort();
  }, [answer, picked, before !== undefined]);
  const lines = useMemo(() => {
    const drawn = names.map((name) => answer.series.find((each) => each.name === name)!);
    const now = drawn.map((each) => ({ label: each.title, line: { t: answer.t, v: each.values } }));
    if (!before) return now;
    const then = drawn.flatMap((each, of) => {
      const old = before.series.find((other) => other.name === each.name);
      const line = { t: before.t.map((at) => at + (answer.from - before.from)), v: old?.values ?? [] };
      return old ? [{ label: `${each.title}, ${span(rangeMs)} before`, line, of }] : [];
    });
    return [...now, ...then];
  }, [answer, before, names]);
  const annotations = useAnnotations(rangeMs, answer.to, { model: question.model || null });
  const title = `${answer.title}${question.groupBy === "none" ? "" : `, by ${question.groupBy.replace("label:", "")}`}`;

  if (answer.series.every((each) => each.samples === 0)) {
    return (
      <Card>
        <Empty icon="chart" title="Nothing was measured">
          No device that the question is about reported “{metric.title}” in this time. Choose a longer range, or ask about
          more devices.
        </Empty>
      </Card>
    );
  }
  return (
    <div class={busy ? "stack waiting" : "stack"} aria-busy={busy} data-testid="answer">
      <div class="row apart">
        <p class="note" role="status" data-testid="answer-facts">
          {facts(answer)}
        </p>
        <div class="actions">{actions(answer.from, answer.to, answer.step_ms)}</div>
      </div>
      {answer.left_out > 0 && (
        <Notice tone="warn" testid="answer-left-out">
          <p>
            {plural(answer.left_out, "group")} more
            {answer.left_out_devices > 0 && `, of ${plural(answer.left_out_devices, "device")},`} are left out: the {answer.series.length}{" "}
            with the most samples are answered. Ask about fewer devices to see the others.
          </p>
        </Notice>
      )}
      {question.compare && earlier.error && <Failure error={earlier.error} />}
      {before && before.series.every((each) => each.total === null) && (
        <p class="note">Nothing was measured in the {span(rangeMs)} before, so there is nothing to compare with.</p>
      )}
      {question.view === "spread" ? (
        <SpreadView question={question} metric={metric} answer={answer} />
      ) : question.view === "table" ? (
        <ValueTable answer={answer} names={names} format={format} title={title} />
      ) : (
        <Chart
          title={title}
          lines={lines}
          format={format}
          rangeMs={rangeMs}
          stepMs={answer.step_ms}
          now={answer.to}
          holes={answer.tier === "raw" ? 3 : 1}
          height={300}
          zero={answer.aggregate !== "min" && !/^(temp_c|wifi_dbm|confidence|.*bytes)$/.test(answer.metric)}
          annotations={annotations}
          onZoom={zoom}
          onZoomOut={zoomOut}
          testid="answer-chart"
          compact
        />
      )}
      <SeriesTable
        answer={answer}
        before={before}
        metric={metric}
        format={format}
        drawn={names}
        onDraw={question.view === "spread" ? null : setPicked}
        onOnly={(where) => set({ where, groupBy: "device" })}
      />
    </div>
  );
}

const TIER = { raw: "single samples", minute: "minutes", hour: "hours" } as const;

function facts(answer: QueryAnswer): string {
  const said = [
    answer.devices === null ? "" : plural(answer.devices, "device"),
    `steps of ${span(answer.step_ms)}`,
    `read from ${TIER[answer.tier] ?? answer.tier}`,
    answer.age_ms > 2000 ? `${span(answer.age_ms)} old` : "",
  ].filter(Boolean);
  return [said.join(", ") + ".", ...answer.notes].join(" ");
}
