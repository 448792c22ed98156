import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { SessionContext, useSession } from "./api/session";
import { AlertChannelsPage } from "./pages/alert_channels";
import { AlertPage } from "./pages/alert_detail";
import { AlertRulesPage } from "./pages/alert_rules";
import { AlertsPage } from "./pages/alerts";
import { AuditPage } from "./pages/audit";
import { DevicePage } from "./pages/device";
import { DevicesPage } from "./pages/devices";
import { ArtifactDriftPage, DeviceDriftPage } from "./pages/drift";
import { FindingPage } from "./pages/finding";
import { FindingsPage } from "./pages/findings";
import { GroupsPage } from "./pages/groups";
import { JobsPage } from "./pages/jobs";
import { ModelPage } from "./pages/model";
import { ModelsPage } from "./pages/models";
import { NotFound } from "./pages/not_found";
import { OverviewPage } from "./pages/overview";
import { PeoplePage } from "./pages/people";
import { ProfilePage } from "./pages/profile";
import { ProfilesPage } from "./pages/profiles";
import { PushPage } from "./pages/push";
import { RolloutPage } from "./pages/rollout";
import { RolloutsPage } from "./pages/rollouts";
import { RunbookPage } from "./pages/runbook";
import { SearchPage } from "./pages/search";
import { SearchesPage } from "./pages/searches";
import { SettingsPage } from "./pages/settings";
import { SignIn } from "./pages/sign_in";
import { SilencesPage } from "./pages/silences";
import { TelemetryPage } from "./pages/telemetry";
import { TrustPage } from "./pages/trust";
import { Shell } from "./shell";
import { match, type Params } from "./ui/match";
import { Failure, Skeleton } from "./ui/parts";
import { usePlace } from "./ui/route";

type Render = (params: Params) => JSX.Element;
const ROUTES: readonly (readonly [string, Render])[] = [
  ["/", () => <OverviewPage />],
  ["/devices", () => <DevicesPage />],
  ["/devices/:name", ({ name = "" }) => <DevicePage key={name} name={name} />],
  ["/devices/:name/drift", ({ name = "" }) => <DeviceDriftPage key={name} name={name} />],
  ["/artifacts/:digest/drift", ({ digest = "" }) => <ArtifactDriftPage key={digest} digest={digest} />],
  ["/models", () => <ModelsPage />],
  ["/models/:name", ({ name = "" }) => <ModelPage key={name} name={name} />],
  ["/jobs", () => <JobsPage />],
  ["/push/:id", ({ id = "" }) => <PushPage key={id} id={id} />],
  ["/findings", () => <FindingsPage />],
  ["/findings/:id", ({ id = "" }) => <FindingPage key={id} id={id} />],
  ["/rollouts", () => <RolloutsPage />],
  ["/rollouts/:id", ({ id = "" }) => <RolloutPage key={id} id={id} />],
  ["/profiles", () => <ProfilesPage />],
  ["/profiles/:id", ({ id = "" }) => <ProfilePage key={id} id={id} />],
  ["/searches", () => <SearchesPage />],
  ["/searches/:id", ({ id = "" }) => <SearchPage key={id} id={id} />],
  ["/telemetry", () => <TelemetryPage />],
  ["/alerts", () => <AlertsPage />],
  ["/alerts/rules", () => <AlertRulesPage />],
  ["/alerts/silences", () => <SilencesPage />],
  ["/alerts/channels", () => <AlertChannelsPage />],
  ["/alerts/:id", ({ id = "" }) => <AlertPage key={id} id={id} />],
  ["/runbooks/:name", ({ name = "" }) => <RunbookPage key={name} name={name} />],
  ["/settings", () => <SettingsPage />],
  ["/groups", () => <GroupsPage />],
  ["/people", () => <PeoplePage />],
  ["/trust", () => <TrustPage />],
  ["/audit", () => <AuditPage />],
];

export function App() {
  const { state, signIn, signOut } = useSession();
  const { path } = usePlace();
  useEffect(() => window.scrollTo(0, 0), [path]);

  if (state.is === "unknown") {
    return <main class="gate">{state.error ? <Failure error={state.error} /> : <Skeleton lines={3} />}</main>;
  }
  if (state.is === "out") return <SignIn signIn={signIn} ended={state.ended} />;
  return (
    <SessionContext.Provider value={state.session}>
      <Shell path={path} session={state.session} signOut={signOut}>
        {page(path)}
      </Shell>
    </SessionContext.Provider>
  );
}

function page(path: string): JSX.Element {
  for (const [pattern, render] of ROUTES) {
    const params = match(pattern, path);
    if (params) return render(params);
  }
  return <NotFound />;
}
