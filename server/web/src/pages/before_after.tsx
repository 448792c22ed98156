import type { Figures } from "../api/telemetry";
import { compared } from "../text/field";
import { better, changeWords } from "../text/metrics";

interface Props {
  names: readonly [string, string];
  before: Figures | null;
  after: Figures | null;
}

/** The same figures of two times, or of two groups of devices, beside each other. */
export function BeforeAfter({ names, before, after }: Props) {
  const rows = compared(before, after);
  if (rows.length === 0) return <p class="note">Too little was measured to compare.</p>;
  const size = (figures: Figures | null) =>
    figures === null ? "nothing measured" : `${figures.inferences.toLocaleString("en-US")} requests${figures.devices ? `, ${figures.devices.toLocaleString("en-US")} devices` : ""}`;
  return (
    <div class="compare-figures" role="table" aria-label={`${names[0]} and ${names[1]}`}>
      {rows.map(({ of, before: from, after: to, change }) => {
        const good = better(of.metric, change);
        return (
          <div class="compare-figure" role="row" key={of.key}>
            <span class="compare-name" role="rowheader">
              {of.title}
            </span>
            <span class="compare-now" role="cell">
              {of.format(to)}
            </span>
            <span class="compare-then" role="cell">
              {names[0]} {of.format(from)}
            </span>
            <span class={`compare-change ${good === null ? "" : good ? "change good" : "change bad"}`} role="cell">
              {change === null ? "" : changeWords(change)}
            </span>
          </div>
        );
      })}
      <p class="note compare-size">
        {names[1]}: {size(after)}. {names[0]}: {size(before)}.
      </p>
    </div>
  );
}
