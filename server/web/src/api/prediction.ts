// What the API says a model or an artifact would do on a kind of device.

import { useEffect } from "preact/hooks";
import { at } from "./client";
import { type Resource, touches, useResource } from "./resource";

export type Basis = "datasheet" | "calibration" | "measurement";
export type Bound = "compute" | "memory" | "overhead";

/** Of this very artifact, by devices of the profile within a day. */
export interface Measured {
  p50_us: number;
  p95_us: number;
  devices: number;
  inferences: number;
  since_at: number;
  until_at: number;
  throttled_devices: number;
  rss_bytes: number | null;
  energy_mj: number | null;
  energy_devices: number;
  energy_method: string | null;
  words: string;
  latency_ratio: number; // predicted by measured, as the others
  memory_ratio: number | null;
  energy_ratio: number | null;
}

export interface Totals {
  profile: string;
  profile_name: string;
  threads: number;
  latency_us: number;
  low_us: number;
  high_us: number;
  memory_bytes: number;
  energy_mj: number | null;
  basis: Basis;
  memory_basis: Basis;
  energy_basis: Basis;
  error: number | null;
  words: string;
  measured: Measured | null;
}

export interface Roof {
  name: string;
  what: "compute" | "memory";
  per_us: number; // operations or bytes
  basis: "datasheet" | "calibration";
  kind: string | null;
}

export interface Layer {
  name: string;
  op_type: string;
  kind: string;
  known: boolean; // false: no device has timed this kind of operator
  dtype: string;
  latency_us: number;
  share: number;
  bound: Bound;
  operations: number;
  bytes: number;
  operations_per_byte: number;
  operations_per_us: number;
}

export interface Prediction extends Totals {
  state: "ready";
  weight_bytes: number;
  peak_activation_bytes: number;
  operations: number;
  overhead_us: number;
  roofs: Roof[];
  layers: Layer[];
}
interface ProfileTotals {
  state: "ready";
  profiles: Totals[];
}
interface Computing {
  state: "computing";
  message: string;
}

/** What is predicted: a model as uploaded, or an artifact. */
export const ofModel = (name: string) => `/models/${at(name)}`;
export const ofArtifact = (digest: string) => `/artifacts/${digest}`;

const ASK_AGAIN_MS = 500; // after an answer that the server works it out; it holds each a few seconds itself
const FRESH_MS = 60_000; // devices measure on

/** `subject` null: nothing to predict. While the server works it out there is no value and no error yet. */
export function usePrediction(subject: string | null, profile: string): Resource<Prediction> {
  return useReady<Prediction>(subject && `${subject}/prediction?profile=${at(profile)}`);
}

export function useOnAllProfiles(subject: string): Resource<ProfileTotals> {
  return useReady<ProfileTotals>(`${subject}/predictions`);
}

function useReady<T extends { state: "ready" }>(path: string | null): Resource<T> {
  const found = useResource<T | Computing>(path, { on: touches("profile"), pollMs: FRESH_MS });
  const { value, reload } = found;
  useEffect(() => {
    if (value?.state !== "computing") return;
    const timer = window.setTimeout(reload, ASK_AGAIN_MS);
    return () => window.clearTimeout(timer);
  }, [value, reload]);
  if (value?.state === "computing") return { ...found, value: undefined, loading: found.error === null };
  return { ...found, value };
}
