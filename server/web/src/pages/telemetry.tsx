import { at as enc, query } from "../api/client";
import { touches, useResource } from "../api/resource";
import type { Device, Series } from "../api/types";
import { useSeries } from "../api/use_series";
import { Chart } from "../plot/chart";
import { MAX_LINES } from "../plot/colors";
import { line, stepFor } from "../plot/series";
import { bytes, celsius, micros, millijoules, percent, perSecond, watts } from "../text/format";
import { deviceWords, method } from "../text/words";
import { Choice } from "../ui/field";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { Card, Empty, Failure, Loaded, Notice, Page } from "../ui/parts";
import { useQuery } from "../ui/route";

type Format = (value: number | null) => string;
const METRICS: readonly (readonly [string, string, Format, boolean])[] = [
  ["latency_p50_us", "Latency p50", micros, false],
  ["latency_p95_us", "Latency p95", micros, false],
  ["latency_p99_us", "Latency p99", micros, false],
  ["inferences_per_s", "Inferences", perSecond, true],
  ["errors_per_s", "Errors", perSecond, true],
  ["rss_bytes", "Agent's memory", bytes, false],
  ["mem_used_bytes", "Board's memory", bytes, false],
  ["cpu_percent", "CPU", percent, true],
  ["power_mw", "Power", watts, true],
  ["energy_mj", "Energy an inference", millijoules, true],
  ["temp_c", "Temperature", celsius, false],
  ["battery_percent", "Battery", percent, true],
];
const FIRST = ["latency_p95_us", "rss_bytes", "power_mw", "inferences_per_s"];
const RANGES = [
  ["5", "5 min"],
  ["15", "15 min"],
  ["60", "1 h"],
  ["360", "6 h"],
  ["1440", "24 h"],
  ["10080", "7 d"],
] as const;

export function TelemetryPage() {
  const devices = useResource<Device[]>("/devices", { on: touches("device"), everyMs: 3000 });
  return (
    <Page title="Telemetry" lead="What the devices report, live. Latency is of one inference, queueing excluded.">
      <Loaded from={devices} lines={6}>
        {(all) =>
          all.length === 0 ? (
            <Card>
              <Empty icon="chart" title="No device yet" action={<Link href="/devices" class="button">Go to the devices</Link>}>
                Telemetry appears here as soon as a device is enrolled and runs its agent.
              </Empty>
            </Card>
          ) : (
            <Explorer devices={all} />
          )
        }
      </Loaded>
    </Page>
  );
}

function Explorer({ devices }: { devices: readonly Device[] }) {
  const [search, setSearch] = useQuery();
  const listed = (key: string) => search.get(key)?.split(",").filter(Boolean);
  const offered = devices.filter((device) => device.enrolled_at !== null || device.latest !== null);
  const names = offered.map((device) => device.name);
  const asked = listed("devices");
  const first = [...offered]
    .sort((a, b) => Number(b.status === "online") - Number(a.status === "online"))
    .slice(0, 4)
    .map((device) => device.name);
  const chosen = (asked ?? first).filter((name) => names.includes(name)).sort();
  const drawn = chosen.slice(0, MAX_LINES);
  const askedMetrics = listed("metrics") ?? FIRST;
  const metrics = METRICS.filter(([metric]) => askedMetrics.includes(metric));
  const minutes = RANGES.find(([value]) => value === search.get("minutes"))?.[0] ?? "15";
  const rangeMs = Number(minutes) * 60_000;
  const stepMs = stepFor(rangeMs);
  const all = useSeries(drawn, metrics.map(([metric]) => metric), rangeMs, stepMs);
  const toggle = (key: string, values: readonly string[], value: string) =>
    setSearch({ [key]: (values.includes(value) ? values.filter((each) => each !== value) : [...values, value]).join(",") });

  return (
    <>
      <Card>
        <div class="picker">
          <div>
            <h2>Devices</h2>
            <div class="chips" role="group" aria-label="Devices">
              {offered.length === 0 && <span class="note">None is enrolled yet.</span>}
              {offered.map((device) => (
                <label class="chip" key={device.name}>
                  <input
                    type="checkbox"
                    checked={chosen.includes(device.name)}
                    onChange={() => toggle("devices", chosen, device.name)}
                    data-testid={`telemetry-device-${device.name}`}
                  />
                  {device.name}
                  {device.status !== "online" && <span class="note">{deviceWords[device.status].text}</span>}
                </label>
              ))}
            </div>
          </div>
          <div>
            <h2>Metrics</h2>
            <div class="chips" role="group" aria-label="Metrics">
              {METRICS.map(([metric, label]) => (
                <label class="chip" key={metric}>
                  <input
                    type="checkbox"
                    checked={askedMetrics.includes(metric)}
                    onChange={() => toggle("metrics", askedMetrics, metric)}
                    data-testid={`telemetry-metric-${metric}`}
                  />
                  {label}
                </label>
              ))}
            </div>
          </div>
          <div class="row apart">
            <Choice
              label="Range"
              value={minutes}
              options={RANGES}
              onChange={(value) => setSearch({ minutes: value })}
              testid="telemetry-range"
            />
            <span class="row">
              <span class="note">Samples as CSV</span>
              {drawn.map((name) => (
                <a
                  key={name}
                  class="button small"
                  href={`/api/v1/telemetry/export${query({ device: name, from: all.now - rangeMs, to: all.now, format: "csv" })}`}
                  download={`${enc(name)}.csv`}
                >
                  <Icon name="download" />
                  {name}
                </a>
              ))}
            </span>
          </div>
        </div>
      </Card>
      {chosen.length > drawn.length && (
        <Notice tone="warn">
          <p>
            {drawn.length} of {chosen.length} devices are drawn: more lines cannot be told apart.
          </p>
        </Notice>
      )}
      {all.error && <Failure error={all.error} />}
      {drawn.length === 0 || metrics.length === 0 ? (
        <Card>
          <Empty icon="chart" title="Nothing chosen">
            Choose at least one device and one metric.
          </Empty>
        </Card>
      ) : (
        <div class="charts wide">
          {metrics.map(([metric, label, format, zero]) => (
            <Chart
              key={metric}
              title={label}
              note={metric === "power_mw" || metric === "energy_mj" ? methodsOf(all.of, metric) : null}
              lines={drawn.map((name) => ({ label: name, line: line(all.of.get(name), metric) }))}
              format={format}
              zero={zero}
              rangeMs={rangeMs}
              stepMs={stepMs}
              now={all.now}
              loading={all.loading}
              testid={`chart-${metric}`}
              absent="None of these devices reports it."
            />
          ))}
        </div>
      )}
    </>
  );
}

/** "estimate" or "measured" when all lines agree, "estimates and measurements" when not. */
function methodsOf(of: ReadonlyMap<string, Series>, metric: string): string | null {
  const words = new Set([...of.values()].flatMap((series) => method(series.methods?.[metric])?.word ?? []));
  if (words.size === 2) return "estimates and measurements";
  return [...words][0] ?? null;
}
