// Says when a part of the server is down, and what that means for the person looking.

import { useResource } from "../api/resource";
import type { Health } from "../api/types";
import { Notice } from "./parts";

const MEANS: Record<string, string> = {
  worker: "The compression worker is down: jobs wait until it is back.",
  link: "The MQTT link is down: no device is heard and no rollout moves until it is back.",
  broker: "The MQTT broker is down: devices keep running their models and report later.",
};

export function HealthNotice() {
  const health = useResource<Health>("/health", { pollMs: 8000 });
  if (!health.value || health.error || health.value.status === "ok") return null;
  const { roles, mqtt_connected } = health.value;
  const down = Object.keys(MEANS).filter((role) => roles[role] === "down");
  const said =
    down.length === 0 && !mqtt_connected
      ? ["The server is not connected to the MQTT broker: devices keep running their models and report later."]
      : down.map((role) => MEANS[role]);
  if (said.length === 0) return null;
  return (
    <Notice tone="warn" testid="health">
      <p>{said.join("\n")}</p>
    </Notice>
  );
}
