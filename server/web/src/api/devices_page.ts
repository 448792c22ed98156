// GET /devices/page: so many devices from an offset on, with their newest figures. Times Unix ms; null = absent.

import type { DeviceStatus, JobStep } from "./types";

export interface DeviceRow {
  name: string;
  profile: string;
  status: DeviceStatus;
  labels: Record<string, string>;
  created_at: number;
  seen_at: number | null;
  agent_version: string | null;
  running: { digest: string; model: string | null; recipe: string | null; release_counter: number | null } | null;
  step: JobStep;
  cloned_at: number | null; // when two boards were last seen with this identity
  at_ms: number | null; // of the newest sample
  p50_us: number | null;
  p95_us: number | null;
  rss_bytes: number | null;
  mem_ratio: number | null; // 0..1
  cpu_percent: number | null;
  temp_c: number | null;
  throttled: boolean | null;
  power_mw: number | null;
  power_method: string | null;
  inferences_per_s: number | null;
  errors: number | null;
  battery_percent: number | null;
  disk_free_bytes: number | null;
}

export interface DevicesAnswer {
  total: number;
  matching: number;
  offset: number;
  limit: number;
  devices: DeviceRow[];
  statuses: Record<string, number>; // of all devices
  profiles: Record<string, number>; // of all devices
}
