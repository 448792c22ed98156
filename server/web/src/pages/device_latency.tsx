// How the latencies of a range are spread: bars on a logarithmic axis, the percentiles on it.

import { useMemo, useState } from "preact/hooks";
import { query } from "../api/client";
import { useResource } from "../api/resource";
import { useKept } from "../api/use_annotations";
import type { History } from "../api/use_history";
import { barsOf, type Distribution, placeOn } from "../plot/distribution";
import { ABSENT, count, micros, part } from "../text/format";
import { Choice } from "../ui/field";

interface Answer extends Distribution {
  stage: string;
  p50_us: number | null;
  p95_us: number | null;
  p99_us: number | null;
}

const STAGES = [
  ["latency", "Run"],
  ["queue", "Queue"],
  ["pre", "Pre"],
  ["post", "Post"],
] as const;
type Stage = (typeof STAGES)[number][0];
const BARS = 48;
const HEIGHT = 168;

export function LatencySpread({ device, history, live }: { device: string; history: History; live: boolean }) {
  const [stage, setStage] = useState<Stage>("latency");
  const [over, setOver] = useState<number | null>(null);
  // In whole minutes, so that a moving range is not asked for at every sample.
  const grid = (ms: number) => (live ? Math.ceil(ms / 60_000) * 60_000 : ms);
  const to = grid(history.to);
  const read = useResource<Answer>("/telemetry/distribution" + query({ device, stage, from: to - history.rangeMs, to }), {
    pollMs: live ? 15_000 : 0,
  });
  const answer = useKept(read.value);
  const bars = useMemo(() => (answer ? barsOf(answer, BARS) : []), [answer]);
  const most = Math.max(1e-9, ...bars.map((bar) => bar.share));
  const bar = over === null ? undefined : bars[over];
  const marks = ([["p50", answer?.p50_us], ["p95", answer?.p95_us], ["p99", answer?.p99_us]] as const).map(([name, value]) => ({
    name,
    value: value ?? null,
    at: placeOn(bars, value ?? null),
  }));
  return (
    <figure class="chart spread" data-testid="latency-distribution">
      <figcaption>
        <span class="chart-title">Distribution</span>
        <Choice label="Stage" value={stage} options={STAGES} onChange={setStage} />
      </figcaption>
      {bars.length === 0 ? (
        <p class="plot none" style={{ minHeight: `${HEIGHT}px` }}>
          {read.error ? read.error.message : answer === undefined ? "Loading" : "No request was timed in this time."}
        </p>
      ) : (
        <>
          <div class="spread-plot" style={{ height: `${HEIGHT}px` }} aria-hidden="true" onMouseLeave={() => setOver(null)}>
            <div class="spread-bars">
              {bars.map((each, i) => (
                <i key={i} class={over === i ? "over" : ""} onMouseEnter={() => setOver(i)}>
                  <b style={{ height: each.count === 0 ? "0" : `max(2px, ${(100 * each.share) / most}%)` }} />
                </i>
              ))}
              {marks.map(
                (mark) =>
                  mark.at !== null && (
                    <span key={mark.name} class={`spread-mark ${mark.name}`} style={{ left: `${mark.at * 100}%` }}>
                      <em>{mark.name}</em>
                    </span>
                  ),
              )}
            </div>
            <div class="spread-axis">
              <span>{micros(bars[0]!.low)}</span>
              <span>{micros(Math.sqrt(bars[0]!.low * bars[bars.length - 1]!.high))}</span>
              <span>{micros(bars[bars.length - 1]!.high)}</span>
            </div>
          </div>
          <ul class="legend">
            {bar ? (
              <li>
                <span class="label">
                  {micros(bar.low)} to {micros(bar.high)}
                </span>
                <b>{part(bar.share)}</b>
                <span class="extent">{count(bar.count)} of them</span>
              </li>
            ) : (
              <>
                {marks.map((mark) => (
                  <li key={mark.name}>
                    <span class="label">{mark.name}</span>
                    <b>{mark.value === null ? ABSENT : micros(mark.value)}</b>
                  </li>
                ))}
                <li>
                  <span class="extent">{count(answer?.count ?? 0)} requests</span>
                </li>
              </>
            )}
          </ul>
        </>
      )}
    </figure>
  );
}
