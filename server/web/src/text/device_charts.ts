// Which charts the page of a device has, and what of them a board can tell.

import type { Series } from "../api/types";
import { bytes, celsius, micros, millijoules, part, percent, perSecond, short, watts } from "./format";
import type { Tone } from "./words";

type Format = (value: number | null) => string;

export interface ChartLine {
  metric: string; // as GET /telemetry/series names it
  label: string;
}
export interface DeviceChart {
  key: string;
  title: string;
  what: string; // as in "This board cannot tell: its power, its temperature."
  lines: readonly ChartLine[];
  format: Format;
  zero?: boolean;
  method?: string; // whose method stands beside the title
  spans?: { metric: string; tone: Tone; label: string }; // shaded where this flag is up
  zones?: readonly { low: number; high: number | null; tone: Tone; label: string }[];
  note?: string;
}
export interface ChartGroup {
  key: string;
  title: string;
  charts: readonly DeviceChart[];
}

const perS: Format = (value) => (value === null ? "–" : `${bytes(value)}/s`);
const mhz: Format = (value) => (value === null ? "–" : value >= 1000 ? `${short(value / 1000)} GHz` : `${short(value)} MHz`);
const dbm: Format = (value) => (value === null ? "–" : `${short(value)} dBm`);
const number: Format = (value) => short(value);
// Siddiqi, Credit Risk Scorecards (2006): below 0.1 the same, from 0.25 on another population.
const PSI_ZONES = [
  { low: 0.1, high: 0.25, tone: "warn", label: "moved" },
  { low: 0.25, high: null, tone: "bad", label: "another population" },
] as const;

export const GROUPS: readonly ChartGroup[] = [
  {
    key: "latency",
    title: "Latency",
    charts: [
      {
        key: "latency",
        title: "Latency of the model",
        what: "latency",
        lines: [
          { metric: "latency_p50_us", label: "p50" },
          { metric: "latency_p95_us", label: "p95" },
          { metric: "latency_p99_us", label: "p99" },
        ],
        format: micros,
      },
      {
        key: "stages",
        title: "Stages of a request, p95",
        what: "the stages of a request",
        lines: [
          { metric: "queue_p95_us", label: "queue" },
          { metric: "pre_p95_us", label: "pre" },
          { metric: "latency_p95_us", label: "run" },
          { metric: "post_p95_us", label: "post" },
        ],
        format: micros,
        zero: true,
      },
    ],
  },
  {
    key: "requests",
    title: "Requests and errors",
    charts: [
      { key: "inferences", title: "Inferences", what: "its throughput", lines: [{ metric: "inferences_per_s", label: "per second" }], format: perSecond, zero: true },
      {
        key: "errors",
        title: "Errors by kind",
        what: "errors",
        lines: [
          { metric: "errors_input_per_s", label: "input" },
          { metric: "errors_runtime_per_s", label: "runtime" },
          { metric: "errors_timeout_per_s", label: "timeout" },
          { metric: "errors_busy_per_s", label: "busy" },
        ],
        format: perSecond,
        zero: true,
      },
    ],
  },
  {
    key: "memory",
    title: "Memory",
    charts: [
      { key: "memory", title: "Agent's memory", what: "the agent's memory", lines: [{ metric: "rss_bytes", label: "resident" }], format: bytes },
      {
        key: "board-memory",
        title: "Board's memory",
        what: "its memory",
        lines: [
          { metric: "mem_used_bytes", label: "in use" },
          { metric: "mem_total_bytes", label: "there is" },
          { metric: "swap_used_bytes", label: "swap" },
        ],
        format: bytes,
        zero: true,
      },
    ],
  },
  {
    key: "processor",
    title: "Processor and temperature",
    charts: [
      {
        key: "cpu",
        title: "CPU",
        what: "its CPU",
        lines: [
          { metric: "cpu_percent", label: "board, all cores" },
          { metric: "agent_cpu_percent", label: "agent, of a core" },
        ],
        format: percent,
        zero: true,
      },
      { key: "clock", title: "CPU clock", what: "its clock", lines: [{ metric: "cpu_mhz", label: "clock" }], format: mhz, spans: { metric: "throttled", tone: "bad", label: "throttled" } },
      { key: "gpu", title: "GPU", what: "a GPU", lines: [{ metric: "gpu_percent", label: "busy" }], format: percent, zero: true },
      {
        key: "temperature",
        title: "Temperature",
        what: "its temperature",
        lines: [{ metric: "temp_c", label: "processor" }],
        format: celsius,
        spans: { metric: "throttled", tone: "bad", label: "throttled" },
      },
    ],
  },
  {
    key: "power",
    title: "Power and battery",
    charts: [
      { key: "power", title: "Power", what: "its power", lines: [{ metric: "power_mw", label: "power" }], format: watts, method: "power_mw" },
      { key: "energy", title: "Energy of an inference", what: "energy", lines: [{ metric: "energy_mj", label: "above idle" }], format: millijoules, method: "energy_mj", zero: true },
      {
        key: "battery",
        title: "Battery",
        what: "a battery",
        lines: [{ metric: "battery_percent", label: "charge" }],
        format: percent,
        spans: { metric: "battery_charging", tone: "good", label: "charging" },
      },
    ],
  },
  {
    key: "io",
    title: "Disk and network",
    charts: [
      {
        key: "disk",
        title: "Disk traffic",
        what: "its disk's traffic",
        lines: [
          { metric: "disk_read_bytes_per_s", label: "read" },
          { metric: "disk_written_bytes_per_s", label: "written" },
        ],
        format: perS,
        zero: true,
      },
      { key: "disk-free", title: "Free disk", what: "its free disk", lines: [{ metric: "disk_free_bytes", label: "free" }], format: bytes },
      {
        key: "network",
        title: "Network",
        what: "its network's traffic",
        lines: [
          { metric: "net_rx_bytes_per_s", label: "received" },
          { metric: "net_tx_bytes_per_s", label: "sent" },
        ],
        format: perS,
        zero: true,
      },
      { key: "wifi", title: "Wi-Fi signal", what: "a Wi-Fi signal", lines: [{ metric: "wifi_dbm", label: "signal" }], format: dbm },
    ],
  },
  {
    key: "drift",
    title: "Drift",
    charts: [
      {
        key: "psi",
        title: "Drift, PSI",
        what: "drift",
        lines: [
          { metric: "input_psi", label: "worst input" },
          { metric: "output_psi", label: "classes" },
        ],
        format: number,
        zero: true,
        zones: PSI_ZONES,
      },
      {
        key: "ks",
        title: "Drift, KS distance",
        what: "drift",
        lines: [
          { metric: "input_ks", label: "worst input" },
          { metric: "output_ks", label: "confidence" },
        ],
        format: number,
        zero: true,
      },
      { key: "confidence", title: "Confidence", what: "confidence", lines: [{ metric: "confidence", label: "mean" }], format: part },
      { key: "agreement", title: "Agreement in shadow", what: "agreement", lines: [{ metric: "agreement", label: "same answer" }], format: part },
    ],
  },
];

/** All metrics that the page asks for, each once. */
export const METRICS: readonly string[] = [
  ...new Set(
    GROUPS.flatMap((group) => group.charts).flatMap((chart) => [
      ...chart.lines.map((each) => each.metric),
      ...(chart.spans ? [chart.spans.metric] : []),
    ]),
  ),
];

const has = (series: Series | undefined, metric: string) => series?.series[metric]?.some((value) => value !== null) ?? false;

export interface Told {
  groups: { group: ChartGroup; charts: DeviceChart[] }[]; // with something to draw
  silent: string[]; // what the board did not tell, in words
  any: boolean; // it told something
}

/** What there is to draw of a device in a range; not told: which of the rest a board could have told. */
export function told(series: Series | undefined): Told {
  const groups = GROUPS.map((group) => ({
    group,
    charts: group.charts.filter((chart) => chart.lines.some((each) => has(series, each.metric))),
  }));
  const silent = GROUPS.flatMap((group) => group.charts)
    .filter((chart) => !OF_A_MODEL.has(chart.key) && !chart.lines.some((each) => has(series, each.metric)))
    .map((chart) => chart.what);
  return { groups: groups.filter(({ charts }) => charts.length > 0), silent: [...new Set(silent)], any: groups.some(({ charts }) => charts.length > 0) };
}
/** What a model tells, not the board: absent where none runs, or has no baseline. */
const OF_A_MODEL = new Set(["latency", "stages", "inferences", "errors", "energy", "psi", "ks", "confidence", "agreement"]);

/** The times in which a flag was up for at least half of each step. */
export function spansOf(series: Series | undefined, metric: string, stepMs: number): { from: number; to: number }[] {
  const flags = series?.series[metric];
  if (!series || !flags) return [];
  const spans: { from: number; to: number }[] = [];
  series.t.forEach((at, i) => {
    if ((flags[i] ?? 0) < 0.5) return;
    const last = spans[spans.length - 1];
    if (last && at - last.to <= stepMs) last.to = at + stepMs;
    else spans.push({ from: at, to: at + stepMs });
  });
  return spans;
}
