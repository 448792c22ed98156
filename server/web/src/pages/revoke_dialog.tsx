// Revoke several devices at once: chosen in the table, all or none.

import { post } from "../api/client";
import { plural } from "../text/format";
import { Confirm } from "../ui/dialog";

interface Props {
  names: readonly string[];
  onClose: () => void;
  done: () => void;
}
export function RevokeDialog({ names, onClose, done }: Props) {
  const shown = names.slice(0, 12);
  return (
    <Confirm
      title={`Revoke ${plural(names.length, "device")}?`}
      verb={`Revoke ${names.length}`}
      onClose={onClose}
      act={() => post("/devices/revoke", { names }).then(done)}
      testid="devices-revoke-confirm"
    >
      <p>
        Their credentials die at once and they are disconnected. What they run keeps running; they come back only with
        a new enrolment code each.
      </p>
      <p class="note">
        {shown.join(", ")}
        {names.length > shown.length && ` and ${names.length - shown.length} more`}
      </p>
    </Confirm>
  );
}
