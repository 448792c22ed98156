// What several pages show of a device.

import type { Device, Sample } from "../api/types";
import { bytes, digest, micros, watts } from "../text/format";
import { deviceWords, method, stepWords } from "../text/words";
import { Link } from "./link";
import { Badge } from "./parts";

export function DeviceStatusBadge({ device, testid }: { device: Device; testid?: string }) {
  return <Badge word={deviceWords[device.status]} {...(testid ? { testid } : {})} />;
}

const NOTEWORTHY = new Set(["fetching", "verified", "staged", "trial", "rejected", "failed", "rolled_back"]);
/** The job step where it says more than the status: something is under way or went wrong. */
export function StepBadge({ device }: { device: Device }) {
  if (!NOTEWORTHY.has(device.step) || device.status === "revoked") return null;
  return <Badge word={stepWords[device.step]} />;
}

/** What a device runs: what it is called, where that leads, and how it was made. */
export function runningParts(running: Device["running"]): { title: string; href: string | null; sub: string } {
  if (!running) return { title: "no model", href: null, sub: "" };
  const { model, recipe, digest: hash, release_counter } = running;
  return {
    title: model ?? digest(hash),
    href: model ? `/models/${encodeURIComponent(model)}?artifact=${hash}` : null,
    sub: `${recipe ?? "unknown recipe"}${release_counter !== null ? ` · release ${release_counter}` : ""}`,
  };
}

export function Running({ device }: { device: Pick<Device, "running"> }) {
  const { title, href, sub } = runningParts(device.running);
  if (!device.running) return <span class="sub">{title}</span>;
  return (
    <>
      {href ? <Link href={href}>{title}</Link> : <code>{title}</code>}
      <span class="sub">{sub}</span>
    </>
  );
}

/** "≈ 4.2 W" for an estimate, "4.2 W" for a measurement. */
export function powerOf(sample: Sample | null): string {
  const reading = sample?.power_mw;
  if (!reading) return watts(null);
  return (method(reading.method)?.word === "estimate" ? "≈ " : "") + watts(reading.value);
}
export const latencyOf = (sample: Sample | null, key: "p50_us" | "p95_us" | "p99_us") => micros(sample?.[key]);
export const memoryOf = (sample: Sample | null) => bytes(sample?.rss_bytes);
