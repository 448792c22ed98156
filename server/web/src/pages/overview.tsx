// The fleet on one page: what is wrong first, then how it runs now against its own day, then every device as a cell.

import { useMemo } from "preact/hooks";
import { touches, useResource } from "../api/resource";
import { useKept } from "../api/use_annotations";
import type { Overview } from "../api/overview";
import type { Change, Job, Model } from "../api/types";
import type { Rollout } from "../api/rollouts";
import { ago, plural, span } from "../text/format";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Notice, Page } from "../ui/parts";
import { useQuery } from "../ui/route";
import { Activity } from "./activity";
import { FirstSteps } from "./first_steps";
import { OpenFindings } from "./open_findings";
import { FleetCharts } from "./overview_charts";
import { FleetHeat, heatAsked } from "./overview_heat";
import { Movers } from "./overview_movers";
import { Problems } from "./overview_problems";
import { Running } from "./overview_running";
import { OverviewSkeleton } from "./overview_skeleton";
import { SmallFleet } from "./overview_small";
import { Tiles } from "./overview_tiles";
import { UnderWay } from "./overview_under_way";
import { Unreadable } from "./overview_unreadable";

const isFleet = (change: Change) => ["telemetry", "device", "rollout", "alert", "finding", "artifact"].includes(change.kind);
const EVERY_MS = 2000; // the server makes a new one every few seconds, however many samples arrive
const OLD_MS = 45_000;
const SMALL = 24; // devices; so many are named one by one

export function OverviewPage() {
  const [search, setSearch] = useQuery();
  const heat = heatAsked(search.get("heat"));
  const read = useResource<Overview>(`/telemetry/overview?heat=${heat}`, { on: isFleet, everyMs: EVERY_MS, pollMs: 10_000 });
  const fleet = useKept(read.value); // another metric of the heat map empties no page
  const rollouts = useResource<Rollout[]>("/rollouts", { on: touches("rollout"), everyMs: 2000 });
  const jobs = useResource<Job[]>("/jobs", { on: touches("job"), everyMs: 2000 });
  const models = useResource<Model[]>("/models", { on: touches("model"), everyMs: 5000 });
  const charts = useMemo(() => fleet?.sparklines, [fleet?.at]);

  if (fleet === undefined) {
    return (
      <Page title="Fleet">
        {read.error ? <Unreadable error={read.error} retry={read.reload} /> : <OverviewSkeleton />}
      </Page>
    );
  }
  const none = fleet.devices.total === 0;
  return (
    <Page title="Fleet" lead={none ? undefined : <Age fleet={fleet} />}>
      {read.error && (
        <Notice tone="warn" testid="overview-stale">
          <p>
            These are the figures of {new Date(fleet.at).toLocaleTimeString()}. {read.error.message}
          </p>
        </Notice>
      )}
      {none ? (
        <FirstSteps models={models.value ?? []} />
      ) : (
        <div class="overview" data-testid="overview-ready">
          <Problems of={fleet.problems} />
          <OpenFindings />
          <Tiles fleet={fleet} />
          <div class="overview-hour">
            {charts && <FleetCharts of={charts} />}
            <Movers of={fleet.movers} />
          </div>
          <FleetHeat of={fleet.heat} metric={heat} choose={(metric) => setSearch({ heat: metric })} waiting={read.value === undefined} />
          {fleet.devices.total <= SMALL && <SmallFleet />}
          <div class="halves">
            <Running fleet={fleet} />
            <div class="stack">
              <UnderWay rollouts={rollouts.value ?? []} jobs={jobs.value ?? []} />
              <Activity />
            </div>
          </div>
        </div>
      )}
      {none && <Activity />}
    </Page>
  );
}

/** How many and how fresh, under the heading. */
function Age({ fleet }: { fleet: Overview }) {
  const now = useNow(2000);
  const age = now - fleet.at;
  return (
    <span data-testid="overview-age">
      {plural(fleet.devices.total, "device")}
      {fleet.devices.revoked > 0 && `, and ${fleet.devices.revoked.toLocaleString("en-US")} revoked`}
      {" · "}
      {age > OLD_MS ? <b class="problem">as of {ago(fleet.at, now)}</b> : age < 5000 ? "as of now" : `as of ${span(age)} ago`}
      {" · "}
      <Link href="/telemetry">Query telemetry</Link>
    </span>
  );
}
