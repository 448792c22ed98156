// What a device measured in a range, group by group. What its board cannot tell is said once, not drawn empty.

import { useMemo, useState } from "preact/hooks";
import { useAnnotations } from "../api/use_annotations";
import { type History, useHistory } from "../api/use_history";
import type { Device } from "../api/types";
import type { Annotation } from "../plot/annotations";
import { Chart } from "../plot/chart";
import { line } from "../plot/series";
import { type DeviceChart, METRICS, spansOf, told } from "../text/device_charts";
import { ago, date, span } from "../text/format";
import { between, lastOf, readRange } from "../text/range";
import { method } from "../text/words";
import { useNow } from "../ui/now";
import { Failure, Notice } from "../ui/parts";
import { RangePicker } from "../ui/range_picker";
import { useQuery } from "../ui/route";
import { DeviceExport } from "./device_export";
import { LatencySpread } from "./device_latency";

const CLOSED_KEY = "edgepress-device-groups-closed";

export function DeviceCharts({ device }: { device: Device }) {
  const [search, setSearch] = useQuery();
  const range = readRange(search, Date.now());
  const history = useHistory(device.name, METRICS, range);
  const annotations = useAnnotations(history.rangeMs, history.to, { device: device.name });
  const said = useMemo(() => told(history.series), [history.series]);
  const [closed, toggle] = useClosed();
  const zoom = {
    onZoom: (from: number, to: number) => setSearch(between(from, Math.max(to, from + 60_000))),
    ...(range.live ? {} : { onZoomOut: () => setSearch(lastOf("1h")) }),
  };
  return (
    <section class="device-telemetry" aria-label="Telemetry">
      <header class="device-range">
        <h2>Telemetry</h2>
        <RangePicker range={range} onChange={setSearch} />
        <DeviceExport device={device.name} from={history.to - history.rangeMs} to={history.to} />
      </header>
      <Stale history={history} live={range.live} device={device} />
      {history.busy ? (
        <Bones />
      ) : !said.any ? (
        <Nothing device={device} failed={history.error !== null} />
      ) : (
        said.groups.map(({ group, charts }) => (
          <details
            key={group.key}
            class="chart-group"
            open={!closed.has(group.key)}
            onToggle={(event) => toggle(group.key, !event.currentTarget.open)}
            data-testid={`charts-${group.key}`}
          >
            <summary>
              <h3>{group.title}</h3>
              <span class="note">{charts.length > 1 ? `${charts.length} charts` : ""}</span>
            </summary>
            {!closed.has(group.key) && (
              <div class="charts">
                {charts.map((chart) => (
                  <One key={chart.key} chart={chart} history={history} annotations={annotations} zoom={zoom} />
                ))}
                {group.key === "latency" && <LatencySpread device={device.name} history={history} live={range.live} />}
              </div>
            )}
          </details>
        ))
      )}
      {said.any && said.silent.length > 0 && (
        <p class="note" data-testid="cannot-tell">
          {range.live ? "This board cannot tell: " : "Not told in this time: "}
          {said.silent.join(", ")}. What a sensor needs is in the documentation of sensors.
        </p>
      )}
    </section>
  );
}

interface OneProps {
  chart: DeviceChart;
  history: History;
  annotations: readonly Annotation[];
  zoom: { onZoom: (from: number, to: number) => void; onZoomOut?: () => void };
}
function One({ chart, history, annotations, zoom }: OneProps) {
  const { series, stepMs } = history;
  const lines = useMemo(
    () =>
      chart.lines
        .filter((each) => series?.series[each.metric]?.some((value) => value !== null))
        .map((each) => ({ label: each.label, line: line(series, each.metric) })),
    [series, chart],
  );
  const spans = useMemo(
    () => (chart.spans ? spansOf(series, chart.spans.metric, stepMs).map((each) => ({ ...each, tone: chart.spans!.tone })) : []),
    [series, chart, stepMs],
  );
  const zones = useMemo(() => {
    const most = Math.max(0, ...lines.flatMap((each) => each.line.v.map((value) => value ?? 0)));
    return (chart.zones ?? []).filter((zone) => zone.low <= Math.max(most, 0.1)); // zones nobody is near make every line flat
  }, [chart, lines]);
  const how = chart.method ? method(series?.methods?.[chart.method]) : null;
  const notes = [how && `${how.word}: ${how.how}`, chart.note, spans.length > 0 && `shaded: ${chart.spans!.label}`].filter(Boolean);
  return (
    <Chart
      title={chart.title}
      note={notes.length > 0 ? notes.join(" · ") : null}
      testid={`chart-${chart.key}`}
      lines={lines}
      format={chart.format}
      zero={chart.zero ?? false}
      rangeMs={history.rangeMs}
      stepMs={stepMs}
      now={history.to}
      fit={false}
      spans={spans}
      zones={zones}
      annotations={annotations}
      {...zoom}
    />
  );
}

/** Old or unreadable figures say so; fresh ones say nothing. */
function Stale({ history, live, device }: { history: History; live: boolean; device: Device }) {
  const now = useNow();
  if (history.error) return <Failure error={history.error} />;
  const newest = device.latest?.at_ms ?? null;
  if (!live || newest === null || now - newest < 90_000) return null;
  return (
    <Notice tone="warn" testid="telemetry-old">
      <p>
        The newest sample is {span(now - newest)} old, of {date(newest)}.{" "}
        {device.status === "online" ? "The device is connected, but sends no telemetry." : "What it measures meanwhile it sends when it is back."}
      </p>
    </Notice>
  );
}

function Nothing({ device, failed }: { device: Device; failed: boolean }) {
  const now = useNow();
  if (failed) return null;
  const newest = device.latest?.at_ms ?? null;
  return (
    <div class="empty" data-testid="no-telemetry">
      <h3>{newest === null ? "No telemetry yet" : "Nothing was reported in this time"}</h3>
      <p>
        {newest !== null
          ? `The newest sample came ${ago(newest, now)}. A longer range shows it.`
          : device.status === "registered"
            ? "It comes once the device is enrolled and its agent runs."
            : "The first samples come within seconds of the agent's start."}
      </p>
    </div>
  );
}

/** Where charts will be, as high as they will be. */
function Bones() {
  return (
    <div class="charts" role="status" data-testid="loading">
      <span class="visually-hidden">Loading</span>
      {Array.from({ length: 6 }, (_, i) => (
        <div key={i} class="bone" style={{ height: "246px" }} aria-hidden="true" />
      ))}
    </div>
  );
}

/** Which groups are folded, kept for the next device and the next visit. */
function useClosed(): [ReadonlySet<string>, (group: string, closed: boolean) => void] {
  const [closed, set] = useState<ReadonlySet<string>>(() => {
    try {
      return new Set((localStorage.getItem(CLOSED_KEY) ?? "").split(" ").filter(Boolean));
    } catch {
      return new Set(); // storage is blocked: all are open
    }
  });
  const toggle = (group: string, shut: boolean) => {
    if (closed.has(group) === shut) return;
    const next = new Set(closed);
    if (shut) next.add(group);
    else next.delete(group);
    set(next);
    try {
      localStorage.setItem(CLOSED_KEY, [...next].join(" "));
    } catch {
      // storage is blocked: it holds until the page closes
    }
  };
  return [closed, toggle];
}
