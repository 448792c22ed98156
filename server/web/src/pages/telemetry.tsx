// A free question about telemetry: a metric, how to aggregate it, by what, of whom, when. All of it is in the address.

import { useMemo, useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { useResource } from "../api/resource";
import type { Catalogue } from "../api/telemetry";
import type { Model } from "../api/types";
import { exportHref, metricOf, over, PRESETS, isPreset, type Question, questionHref, readQuestion } from "../text/question";
import { Icon } from "../ui/icon";
import { Card, CopyButton, Failure, Loaded, Page } from "../ui/parts";
import { navigate, usePlace } from "../ui/route";
import { QuestionForm } from "./telemetry_form";
import { Answer } from "./telemetry_answer";

export function TelemetryPage() {
  const catalogue = useResource<Catalogue>("/telemetry/metrics");
  const models = useResource<Model[]>("/models");
  const { search } = usePlace();
  const question = useMemo(() => readQuestion(new URLSearchParams(search)), [search]);
  const set = (change: Partial<Question>, how: "push" | "replace" = "push") =>
    navigate(questionHref({ ...question, ...change }), how);
  return (
    <Page
      title="Telemetry"
      lead="Ask what the devices measured. Percentiles come from merged histograms: a fleet's p95 is the p95, no mean of p95s."
    >
      <Loaded from={catalogue} lines={8}>
        {(known) => <Explorer catalogue={known} models={(models.value ?? []).map((each) => each.name)} question={question} set={set} />}
      </Loaded>
    </Page>
  );
}

interface ExplorerProps {
  catalogue: Catalogue;
  models: readonly string[];
  question: Question;
  set: (change: Partial<Question>, how?: "push" | "replace") => void;
}
function Explorer({ catalogue, models, question, set }: ExplorerProps) {
  const metric = metricOf(catalogue, question.metric);
  const aggregate = question.aggregate ?? metric?.aggregate ?? null;
  // Where the last range that was drawn began, so that a double click goes back to where one came from.
  const [before, setBefore] = useState<Question[]>([]);
  const zoom = (from: number, to: number) => {
    setBefore([...before.slice(-9), question]);
    set({ lastMs: null, from, to, stepMs: null });
  };
  const zoomOut = () => {
    const last = before[before.length - 1];
    if (last) {
      setBefore(before.slice(0, -1));
      set({ lastMs: last.lastMs, from: last.from, to: last.to, stepMs: last.stepMs });
    } else if (question.from !== null && question.to !== null) {
      const half = Math.max(1, Math.round((question.to - question.from) / 2));
      set({ from: Math.max(0, question.from - half), to: question.to + half, stepMs: null });
    }
  };
  return (
    <>
      <ul class="presets" aria-label="Questions often asked">
        {PRESETS.filter((preset) => metricOf(catalogue, preset.metric)).map((preset) => {
          const here = isPreset(preset, question, aggregate);
          return (
            <li key={preset.name}>
              <button
                type="button"
                class={here ? "preset here" : "preset"}
                aria-pressed={here}
                onClick={() => set({ metric: preset.metric, aggregate: preset.aggregate, groupBy: preset.groupBy })}
                data-testid={`preset-${preset.name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`}
              >
                {preset.name}
              </button>
            </li>
          );
        })}
      </ul>
      <Card testid="question">
        <QuestionForm catalogue={catalogue} models={models} question={question} set={set} />
      </Card>
      {metric ? (
        <Answer
          key={`${question.metric} ${question.groupBy}`}
          question={question}
          metric={metric}
          set={set}
          zoom={zoom}
          zoomOut={zoomOut}
          actions={(from, to, stepMs) => <Take question={over(question, from, to, stepMs)} shared={question} />}
        />
      ) : (
        <Failure error={new ApiError(400, "query_metric", `There is no metric ${question.metric}. Choose one of the list above.`)} />
      )}
    </>
  );
}

/** Take the answer along: its link, its numbers. A copied link to the newest time stays one to the newest time. */
function Take({ question, shared }: { question: Question; shared: Question }) {
  return (
    <>
      <CopyButton text={location.origin + questionHref(shared)} label="Copy link" />
      {(["csv", "parquet", "json"] as const).map((format) => (
        <a key={format} class="button small" href={exportHref(question, format)} download data-testid={`export-${format}`}>
          <Icon name="download" />
          {format === "parquet" ? "Parquet" : format.toUpperCase()}
        </a>
      ))}
    </>
  );
}
