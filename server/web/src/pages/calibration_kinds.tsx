// What each kind of operator sustains, on the length of what the datasheet allows.

import type { KindFit } from "../api/calibration";
import { kindGroups, wholePercent } from "../text/calibration";
import { micros, short } from "../text/format";

const FIRST = 8; // of each group; the rest on demand

export function CalibrationKinds({ kinds }: { kinds: KindFit[] }) {
  const { compute, move } = kindGroups(kinds);
  return (
    <div class="calibration-kinds" data-testid="calibration-kinds">
      <Group title="Arithmetic, Gop/s" kinds={compute} value={(kind) => kind.operations_per_us ?? 0} limit={(kind) => kind.datasheet_operations_per_us} />
      <Group title="Moving data, GB/s" kinds={move} value={(kind) => kind.bytes_per_us} limit={(kind) => kind.datasheet_bytes_per_us} />
    </div>
  );
}

interface GroupProps {
  title: string;
  kinds: KindFit[];
  value: (kind: KindFit) => number; // per microsecond
  limit: (kind: KindFit) => number;
}
function Group({ title, kinds, value, limit }: GroupProps) {
  if (kinds.length === 0) return null;
  const most = Math.max(...kinds.flatMap((kind) => [value(kind), limit(kind)]));
  const rows = (some: KindFit[]) => some.map((kind) => <Row key={kind.kind} kind={kind} value={value(kind)} limit={limit(kind)} most={most} />);
  return (
    <section>
      <h3>{title}</h3>
      <ul>{rows(kinds.slice(0, FIRST))}</ul>
      {kinds.length > FIRST && (
        <details class="more">
          <summary>{kinds.length - FIRST} more</summary>
          <ul>{rows(kinds.slice(FIRST))}</ul>
        </details>
      )}
    </section>
  );
}

/** On a logarithmic length: kinds differ by more than a hundred. */
function Row({ kind, value, limit, most }: { kind: KindFit; value: number; limit: number; most: number }) {
  const place = (rate: number) => 100 * Math.min(1, Math.max(0.01, 1 + Math.log10(rate / most) / DECADES));
  const about = `${kind.kind}: ${short(value / 1000)} sustained, the datasheet allows ${short(limit / 1000)}; a call ${micros(kind.overhead_us)}; ${kind.samples} shapes${
    kind.error === null ? "" : `, error ${wholePercent(kind.error)}`
  }`;
  return (
    <li title={about}>
      <span class="calibration-kind">{kind.kind}</span>
      <div class="calibration-track" aria-hidden="true">
        <div class="calibration-fill" style={{ width: `${place(value)}%` }} />
        <div class="calibration-limit" style={{ left: `${place(limit)}%` }} />
      </div>
      <span class="calibration-value">
        {short(value / 1000)} <small>of {short(limit / 1000)}</small>
      </span>
      <span class="calibration-about">
        {micros(kind.overhead_us)} a call{kind.error === null ? "" : `, ±${wholePercent(kind.error)}`}
      </span>
    </li>
  );
}

const DECADES = 3; // that the whole length stands for
