// The samples of a range as a file.

import { query } from "../api/client";
import { Icon } from "../ui/icon";

const KEPT_MS = 24 * 3_600_000; // single samples; what is older is there as minutes and hours
const FORMATS = [
  ["csv", "CSV"],
  ["parquet", "Parquet"],
  ["json", "JSON"],
] as const;

export function DeviceExport({ device, from, to }: { device: string; from: number; to: number }) {
  const older = from < Date.now() - KEPT_MS;
  return (
    <div class="row tight export" role="group" aria-label="Export the samples of this range">
      <Icon name="download" />
      {FORMATS.map(([format, text]) => (
        <a
          key={format}
          class="button small"
          href={"/api/v1/telemetry/export" + query({ device, from: Math.round(from), to: Math.round(to), format })}
          download
          title={older ? "Single samples are kept for 24 hours; the file begins there" : undefined}
          data-testid={`export-${format}`}
        >
          {text}
        </a>
      ))}
    </div>
  );
}
