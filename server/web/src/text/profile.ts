// The figures of a device profile as rows: what to call them, how to say them, where they come from.

import type { Basis, Compute, ProfileDetail, Sourced } from "../api/types";
import { ABSENT, bytes, short, watts } from "./format";
import type { Tone, Word } from "./words";

export interface Figure {
  text: string;
  value: number | null; // for bars; null where it is absent or no number
  basis: Basis | null; // null: a choice, with its reason as the source
  source: string | null;
}
export interface Row {
  group: string;
  label: string;
  field: string; // its name in the file
  read: (profile: ProfileDetail) => Figure;
}

const TONES: Record<Basis, Tone> = { measured: "good", datasheet: "busy", derived: "idle", estimate: "warn" };
export const basisWord = (basis: Basis): Word => ({ text: basis, tone: TONES[basis] });
export const BASIS_MEANS: Record<Basis, string> = {
  measured: "somebody measured it; the source says who",
  datasheet: "the vendor publishes it",
  derived: "computed from such figures",
  estimate: "a judgement; the source says what it rests on",
};

export const ORIGIN: Record<ProfileDetail["origin"], Word> = {
  shipped: { text: "Shipped", tone: "idle" },
  own: { text: "Own", tone: "good" },
  override: { text: "Override", tone: "busy" },
};

export const mib = (value: number) => (value >= 1024 ? `${short(value / 1024)} GiB` : `${short(value)} MiB`);
const kib = (value: number) => (value >= 2 ** 20 ? `${short(value / 2 ** 20)} MiB` : `${short(value / 1024)} KiB`);
const giga = (unit: string) => (value: number) => (value >= 1000 ? `${short(value / 1000)} T${unit}` : `${short(value)} G${unit}`);
const NONE: Figure = { text: ABSENT, value: null, basis: null, source: null };

function sourced(table: Sourced | null | undefined, value: number | string | null | undefined, say: (value: number) => string): Figure {
  if (!table || value === null || value === undefined) return NONE;
  const source = table.arithmetic ? `${table.arithmetic}. ${table.source}` : table.source;
  const number = typeof value === "number" ? value : null;
  return { text: number === null ? String(value) : say(number), value: number, basis: table.basis, source };
}
function reasoned(table: { reason: string } | null | undefined, text: string): Figure {
  return table ? { text, value: null, basis: null, source: table.reason } : NONE;
}

function peaks(group: string, prefix: string, of: (profile: ProfileDetail) => Compute | null | undefined): Row[] {
  return [
    { group, label: "fp32", field: `${prefix}.fp32.gflops`, read: (p) => sourced(of(p)?.fp32, of(p)?.fp32.gflops, giga("FLOP/s")) },
    { group, label: "fp16", field: `${prefix}.fp16.gflops`, read: (p) => sourced(of(p)?.fp16, of(p)?.fp16?.gflops, giga("FLOP/s")) },
    { group, label: "int8", field: `${prefix}.int8.gops`, read: (p) => sourced(of(p)?.int8, of(p)?.int8?.gops, giga("OP/s")) },
  ];
}

const plain = (value: number) => short(value);
/** Every figure of a profile, in the order of its file. */
export const ROWS: readonly Row[] = [
  { group: "Processor", label: "Model", field: "cpu.model", read: (p) => sourced(p.cpu, p.cpu.model, plain) },
  { group: "Processor", label: "Instruction sets", field: "cpu.isa", read: (p) => sourced(p.cpu, p.cpu.isa, plain) },
  { group: "Processor", label: "Cores", field: "cpu.cores", read: (p) => sourced(p.cpu, p.cpu.cores, plain) },
  { group: "Processor", label: "Threads for the runtime", field: "cpu.threads", read: (p) => sourced(p.cpu, p.cpu.threads, plain) },
  { group: "Processor", label: "Clock", field: "cpu.clock_mhz", read: (p) => sourced(p.cpu, p.cpu.clock_mhz, (v) => `${short(v / 1000)} GHz`) },
  ...peaks("Peak of the CPU", "compute", (p) => p.compute),
  { group: "GPU", label: "Model", field: "gpu.model", read: (p) => sourced(p.gpu, p.gpu?.model, plain) },
  ...peaks("GPU", "gpu.compute", (p) => p.gpu?.compute),
  { group: "Memory", label: "Fitted", field: "memory.ram_mib", read: (p) => sourced(p.memory, p.memory.ram_mib, mib) },
  { group: "Memory", label: "For a model", field: "memory.usable.mib", read: (p) => sourced(p.memory.usable, p.memory.usable.mib, mib) },
  { group: "Memory", label: "Bandwidth", field: "memory.bandwidth.gb_per_s", read: (p) => sourced(p.memory.bandwidth, p.memory.bandwidth.gb_per_s, (v) => `${short(v)} GB/s`) },
  { group: "Memory", label: "L1 data, a core", field: "memory.cache.l1d_bytes", read: (p) => sourced(p.memory.cache, p.memory.cache.l1d_bytes, kib) },
  { group: "Memory", label: "L2, all of it", field: "memory.cache.l2_bytes", read: (p) => sourced(p.memory.cache, p.memory.cache.l2_bytes, kib) },
  { group: "Memory", label: "L3 or system cache", field: "memory.cache.l3_bytes", read: (p) => sourced(p.memory.cache, p.memory.cache.l3_bytes, kib) },
  { group: "Forms that run fast", label: "int8 activations", field: "int8.activations", read: (p) => reasoned(p.int8, p.int8.activations ?? "none: slower than fp32") },
  { group: "Forms that run fast", label: "int4 weights", field: "int4.supported", read: (p) => reasoned(p.int4, p.int4.supported ? "yes" : "no") },
  { group: "Forms that run fast", label: "fp16", field: "fp16.supported", read: (p) => reasoned(p.fp16, p.fp16.supported ? "yes" : "no") },
  { group: "Forms that run fast", label: "Layout of convolutions", field: "layout.preferred", read: (p) => reasoned(p.layout, p.layout ? LAYOUT[p.layout.preferred] : "") },
  { group: "Runtime", label: "Engine", field: "runtime.engine", read: (p) => reasoned(p.runtime, p.runtime.engine) },
  { group: "Runtime", label: "Providers, best first", field: "runtime.providers", read: (p) => reasoned(p.runtime, p.runtime.providers.map((name) => name.replace("ExecutionProvider", "")).join(", ")) },
  { group: "Power, whole device", label: "Idle", field: "power.idle_mw", read: (p) => sourced(p.power, p.power.idle_mw, watts) },
  { group: "Power, whole device", label: "All cores busy", field: "power.typical_mw", read: (p) => sourced(p.power, p.power.typical_mw, watts) },
  { group: "Power, whole device", label: "At most", field: "power.tdp_mw", read: (p) => sourced(p.power, p.power.tdp_mw, watts) },
  { group: "Power, whole device", label: "Sensors", field: "power.sensors", read: (p) => sourced(p.power, p.power.sensors.join(", ") || "none: estimates only", plain) },
  { group: "Storage and network", label: "Storage", field: "storage.kind", read: (p) => sourced(p.storage, p.storage.kind, plain) },
  { group: "Storage and network", label: "Reads", field: "storage.read_mb_per_s", read: (p) => sourced(p.storage, p.storage.read_mb_per_s, (v) => bytes(v * 1e6) + "/s") },
  { group: "Storage and network", label: "Links", field: "network.kinds", read: (p) => sourced(p.network, p.network.kinds.join(", "), plain) },
  { group: "Storage and network", label: "Planned with", field: "network.down_mbit_per_s", read: (p) => sourced(p.network, p.network.down_mbit_per_s, (v) => `${short(v)} Mbit/s`) },
];
const LAYOUT = { nchw: "NCHW", nchwc: "NCHWc, channels in blocks", nhwc: "NHWC" } as const;

/** Rows that at least one of the profiles has, in their groups. */
export function groups(profiles: readonly ProfileDetail[]): [string, Row[]][] {
  const found = new Map<string, Row[]>();
  for (const row of ROWS) {
    if (!profiles.some((profile) => row.read(profile).source !== null)) continue;
    found.set(row.group, [...(found.get(row.group) ?? []), row]);
  }
  return [...found];
}

/** What a new profile, or an override, begins with. */
export function beginning(id: string, name: string, base: string): string {
  return [
    `id = ${JSON.stringify(id)}`,
    `name = ${JSON.stringify(name)}`,
    `inherits = ${JSON.stringify(base)}`,
    "",
    "# State what differs, each table with its own source and basis. For example:",
    "#",
    "# [memory]",
    "# ram_mib = 2048",
    '# basis = "datasheet"  # or "measured", "derived", "estimate"',
    '# source = "the label on the board"',
    "",
  ].join("\n");
}

const FIRST_SHOWN = ["raspberry-pi-4", "x86-pc"];
/** Which profiles are compared: those of the address that exist, at most `most`; else two that most people know. */
export function compared(asked: string | null, known: readonly string[], most: number): string[] {
  const wanted = [...new Set((asked ?? "").split(","))].filter((id) => known.includes(id)).slice(0, most);
  return asked === null ? FIRST_SHOWN.filter((id) => known.includes(id)) : wanted;
}
