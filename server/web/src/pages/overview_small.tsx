// A fleet so small that each device is named.

import { telemetryDevices, touches, useResource } from "../api/resource";
import type { DevicesAnswer } from "../api/devices_page";
import type { Profile } from "../api/types";
import { Link } from "../ui/link";
import { Card, Loaded } from "../ui/parts";
import { DeviceTable } from "./devices_table";

export function SmallFleet() {
  const read = useResource<DevicesAnswer>("/devices/page?offset=0&limit=50&sort=name", {
    on: (change) => touches("device")(change) || change.kind === "artifact" || telemetryDevices(change).length > 0,
    everyMs: 1500,
  });
  const profiles = useResource<Profile[]>("/profiles");
  const profileName = (id: string) => profiles.value?.find((profile) => profile.id === id)?.name ?? id;
  return (
    <Card flush title="Devices" actions={<Link href="/devices">All devices</Link>}>
      <Loaded from={read} lines={4}>
        {({ devices }) => <DeviceTable devices={devices.filter((device) => device.status !== "revoked")} profileName={profileName} />}
      </Loaded>
    </Card>
  );
}
