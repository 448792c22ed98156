// The measure that an alert is about, with its threshold and the time in which it fired.

import { useMemo } from "preact/hooks";
import type { AlertDetail } from "../api/alerts";
import { useResource } from "../api/resource";
import type { Catalogue, QueryAnswer } from "../api/telemetry";
import { useAnnotations, useKept } from "../api/use_annotations";
import { Chart, type Level } from "../plot/chart";
import { alertQuestion } from "../text/alert_question";
import { firingTimes, severityWords, valueWords } from "../text/alerts";
import { formatOf } from "../text/metrics";
import { metricOf, type Question, questionHref, questionPath } from "../text/question";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Failure } from "../ui/parts";

export function AlertChart({ alert }: { alert: AlertDetail }) {
  const catalogue = useResource<Catalogue>("/telemetry/metrics");
  const now = useNow(60_000);
  const question = useMemo(() => (catalogue.value ? alertQuestion(alert, catalogue.value, now) : null), [catalogue.value, alert, now]);
  if (!catalogue.value || question === null) return null;
  return <Measure alert={alert} question={question} catalogue={catalogue.value} />;
}

function Measure({ alert, question, catalogue }: { alert: AlertDetail; question: Question; catalogue: Catalogue }) {
  const found = useResource<QueryAnswer>(questionPath(question));
  const answer = useKept(found.value);
  const [from, to] = [question.from!, question.to!];
  const annotations = useAnnotations(to - from, to, { model: alert.model });
  const lines = useMemo(
    () => (answer?.series ?? []).map((each) => ({ label: each.title || "all together", line: { t: answer!.t, v: each.values } })),
    [answer],
  );
  const levels = useMemo<Level[]>(() => {
    if (alert.unit === "times" || alert.fire_at === null) return []; // a ratio to the usual, which is each one's own
    const words = (value: number) => valueWords(value, alert.unit, alert.aggregate);
    const made: Level[] = [{ value: alert.fire_at, label: `fires ${alert.direction} ${words(alert.fire_at)}`, tone: "bad" }];
    if (alert.resolve_at !== null && alert.resolve_at !== alert.fire_at) {
      made.push({ value: alert.resolve_at, label: `resolves at ${words(alert.resolve_at)}`, tone: "good" });
    }
    return made;
  }, [alert]);
  const metric = metricOf(catalogue, question.metric);
  if (!answer && found.error) return <Failure error={found.error} retry={found.reload} />;
  return (
    <div class="stack tight">
      <Chart
        title={answer?.title ?? metric?.title ?? ""}
        lines={lines}
        format={formatOf(answer?.unit ?? "", answer?.aggregate, metric?.kind)}
        rangeMs={to - from}
        stepMs={answer?.step_ms ?? 60_000}
        now={to}
        holes={answer?.tier === "raw" ? 3 : 1}
        height={220}
        zero={!/^(temp_c|wifi_dbm|confidence|.*_bytes)$/.test(question.metric)}
        levels={levels}
        spans={firingTimes(alert).map((each) => ({ ...each, tone: severityWords[alert.severity].tone }))}
        annotations={annotations}
        loading={found.loading}
        testid="alert-chart"
        compact
      />
      <p class="note">
        Shaded: while it fired. {alert.members.length > lines.length && lines.length > 0 && `The ${lines.length} furthest out of ${alert.subjects} are drawn. `}
        <Link href={questionHref(question)}>Look further into it</Link>
      </p>
    </div>
  );
}
