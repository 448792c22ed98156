// Every device as a cell, coloured by one metric: as it is, or against what is usual in its profile.

import { useMemo } from "preact/hooks";
import { HEAT, type HeatAnswer, type HeatMetric } from "../api/overview";
import { type HeatCell, HeatLegend, HeatMap } from "../plot/heat_map";
import { againstGroup, boundsOf, RATIO_BOUNDS } from "../plot/heat_scale";
import { ABSENT, plural, ratio } from "../text/format";
import { formatOf } from "../text/metrics";
import { Choice } from "../ui/field";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";
import { useQuery } from "../ui/route";

const TITLES: Record<HeatMetric, string> = {
  latency_p95_us: "Latency, p95",
  error_ratio: "Errors",
  cpu_percent: "CPU",
  temp_c: "Temperature",
  rss_bytes: "Agent's memory",
  power_mw: "Power",
};
/** The column of the devices page that sorts by the same. */
const SORT: Record<HeatMetric, string> = {
  latency_p95_us: "p95_us",
  error_ratio: "errors",
  cpu_percent: "cpu_percent",
  temp_c: "temp_c",
  rss_bytes: "rss_bytes",
  power_mw: "power_mw",
};

/** Boards differ so much in these that only their own kind tells what is unusual. */
const BY_PROFILE: ReadonlySet<HeatMetric> = new Set(["latency_p95_us", "power_mw"]);

export const heatAsked = (text: string | null): HeatMetric => HEAT.find((each) => each === text) ?? "latency_p95_us";

const AGAINST = [
  ["value", "As it is"],
  ["profile", "Against its profile"],
] as const;

interface Props {
  of: HeatAnswer;
  metric: HeatMetric;
  choose: (metric: HeatMetric) => void;
  waiting: boolean; // another metric is on its way
}

export function FleetHeat({ of, metric, choose, waiting }: Props) {
  const [search, setSearch] = useQuery();
  const usually = BY_PROFILE.has(metric) && of.groups.length > 1 ? "profile" : "value";
  const against = AGAINST.find(([each]) => each === search.get("against"))?.[0] ?? usually;
  const format = of.metric.endsWith("_ratio") ? formatOf("", "ratio") : formatOf(of.unit);
  const { cells, groups, bounds } = useMemo(() => arrange(of, against === "profile"), [of, against]);
  const offline = useMemo(() => cells.filter((cell) => cell.status === "f").length, [cells]);
  const unknown = useMemo(() => cells.filter((cell) => cell.status !== "f" && cell.value === null).length, [cells]);
  const say = (cell: HeatCell): string => {
    const value = cell.measured;
    if (value === null) return `${of.title}: ${ABSENT}`;
    const times = against === "profile" && cell.value !== null ? `, ${ratio(cell.value)} its profile's` : "";
    return `${of.title}: ${format(value)}${times}`;
  };
  return (
    <Card
      title="Every device"
      note="One cell a device, by profile"
      testid="fleet-heat"
      class={waiting ? "heat-card waiting" : "heat-card"}
      actions={
        <>
          <select
            class="inline"
            aria-label="Coloured by"
            value={metric}
            onChange={(event) => choose(heatAsked(event.currentTarget.value))}
            data-testid="heat-metric"
          >
            {HEAT.map((each) => (
              <option key={each} value={each}>
                {TITLES[each]}
              </option>
            ))}
          </select>
          <Choice
            label="Compared"
            value={against}
            options={AGAINST}
            onChange={(value) => setSearch({ against: value === usually ? null : value })}
            testid="heat-against"
          />
        </>
      }
    >
      <HeatMap
        cells={cells}
        groups={groups}
        bounds={bounds}
        say={say}
        hrefOf={(cell) => `/devices/${encodeURIComponent(cell.name)}`}
        label={`${of.title} of ${plural(cells.length, "device")}`}
      />
      <div class="row apart">
        <HeatLegend bounds={bounds} format={against === "profile" ? (value) => ratio(value) : format} counts={{ offline, unknown }} />
        <Link href={`/devices?sort=-${SORT[metric]}`}>The same as a list</Link>
      </div>
      {of.left_out > 0 && (
        <p class="note">{plural(of.left_out, "device")} more are not drawn: a map of so many cells tells nobody anything. The list has them all.</p>
      )}
    </Card>
  );
}

interface Arranged {
  cells: HeatCell[];
  groups: { name: string; cells: number[]; title: string; note: string }[];
  bounds: readonly number[] | null;
}

const PROBLEM = ["0", "1", "2"];

/** The answer's columns as cells; bounds of the colours over all of them. */
export function arrange(of: HeatAnswer, againstProfile: boolean): Arranged {
  const cells: HeatCell[] = [];
  const groups = of.groups.map((group) => {
    const indices: number[] = [];
    let away = 0;
    let troubled = 0;
    group.names.forEach((name, i) => {
      const value = group.values[i] ?? null;
      const status = group.status[i] ?? "r";
      const problem = Math.max(0, PROBLEM.indexOf(group.problem[i] ?? "0"));
      if (status === "f") away++;
      if (problem > 0) troubled++;
      indices.push(cells.length);
      cells.push({ name, status, value, measured: value, problem, group: group.profile });
    });
    const note = [
      away + troubled > 0 ? indices.length.toLocaleString("en-US") : plural(indices.length, "device"),
      away > 0 ? `${away.toLocaleString("en-US")} offline` : "",
      troubled > 0 ? `${troubled.toLocaleString("en-US")} bad` : "",
    ];
    return { name: group.profile, cells: indices, title: group.profile, note: note.filter(Boolean).join(" · ") };
  });
  if (!againstProfile) return { cells, groups, bounds: boundsOf(cells.map((cell) => cell.value)) };
  const relative = againstGroup(cells.map((cell) => cell.value), groups.map((group) => group.cells));
  return { cells: cells.map((cell, i) => ({ ...cell, value: relative[i] ?? null })), groups, bounds: RATIO_BOUNDS };
}
