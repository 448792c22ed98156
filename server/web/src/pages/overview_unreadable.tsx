import type { ApiError } from "../api/client";
import { Card, Failure } from "../ui/parts";

/** In place of the overview, where there is none yet. */
export function Unreadable({ error, retry }: { error: ApiError; retry: () => void }) {
  return (
    <Card title="The fleet cannot be shown" testid="overview-failed">
      <Failure error={error} retry={retry} />
      <p class="note">Devices keep running their models whatever happens here, and report what they measured later.</p>
    </Card>
  );
}
