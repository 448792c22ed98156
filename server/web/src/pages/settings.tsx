import { useResource } from "../api/resource";
import type { Health } from "../api/types";
import { Badge, Card, Fact, Loaded, Page } from "../ui/parts";
import { SETTINGS_TABS, Tabs } from "../ui/tabs";
import { FleetDelivery } from "./delivery_fields";
import { OwnPassword, Tokens } from "./tokens";

export function SettingsPage() {
  return (
    <Page title="Settings">
      <Tabs label="Settings" tabs={SETTINGS_TABS} here="/settings" />
      <div class="columns">
        <div class="stack">
          <Tokens />
          <FleetDelivery />
        </div>
        <div class="stack">
          <ServerCard />
          <OwnPassword />
          <Card title="For programs">
            <p>
              Every page here uses the same REST API: <a href="/api/docs">browse it</a>, or read its{" "}
              <a href="/api/v1/openapi.json">OpenAPI document</a>.
            </p>
          </Card>
        </div>
      </div>
    </Page>
  );
}

const ROLE_WORDS: Record<string, string> = {
  web: "Web and API",
  link: "MQTT link",
  worker: "Compression worker",
  broker: "MQTT broker",
};

function ServerCard() {
  const health = useResource<Health>("/health", { pollMs: 5000 });
  return (
    <Card title="Server">
      <Loaded from={health}>
        {(value) => (
          <dl class="facts">
            <Fact name="Version">{value.version}</Fact>
            {Object.entries(value.roles).map(([role, state]) => (
              <Fact key={role} name={ROLE_WORDS[role] ?? role}>
                <Badge word={state === "ok" ? { text: "ok", tone: "good" } : { text: "down", tone: "bad" }} />
              </Fact>
            ))}
            <Fact name="Connected to the broker">
              <Badge word={value.mqtt_connected ? { text: "yes", tone: "good" } : { text: "no", tone: "bad" }} />
            </Fact>
          </dl>
        )}
      </Loaded>
    </Card>
  );
}
