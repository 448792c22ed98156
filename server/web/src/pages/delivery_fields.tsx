// Under which rules devices fetch: the fields, and the cards of the fleet and of a device.

import { useState } from "preact/hooks";
import { put } from "../api/client";
import type { DeliveryRules, DeviceDelivery } from "../api/delivery";
import { type Resource, touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { deliveryText, type DeliveryText, deliveryWords, readDelivery } from "../text/delivery";
import { Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Link } from "../ui/link";
import { Card, Failure, Loaded } from "../ui/parts";

interface FieldsProps {
  text: DeliveryText;
  onChange: (text: DeliveryText) => void;
  fleet?: boolean;
  prefix: string; // of the test ids
}
export function DeliveryFields({ text, onChange, fleet, prefix }: FieldsProps) {
  const set = (part: Partial<DeliveryText>) => onChange({ ...text, ...part });
  return (
    <div class="fields">
      <Field label="Rate of a device, KB/s" hint="Empty: as fast as the link is.">
        {(ids) => (
          <input
            {...ids}
            type="number"
            min="1"
            step="any"
            value={text.rate}
            onInput={(event) => set({ rate: event.currentTarget.value })}
            data-testid={`${prefix}-rate`}
          />
        )}
      </Field>
      {fleet && (
        <Field label="Rate of all together, KB/s" hint="Of what the server and its broker send.">
          {(ids) => (
            <input
              {...ids}
              type="number"
              min="1"
              step="any"
              value={text.fleetRate}
              onInput={(event) => set({ fleetRate: event.currentTarget.value })}
              data-testid={`${prefix}-fleet-rate`}
            />
          )}
        </Field>
      )}
      <Field label="Only during" hint="Such as 22:00-06:00; several with commas. Empty: always.">
        {(ids) => (
          <input
            {...ids}
            placeholder="always"
            value={text.hours}
            onInput={(event) => set({ hours: event.currentTarget.value })}
            data-testid={`${prefix}-hours`}
          />
        )}
      </Field>
      <Field label="Time zone of the hours" hint="Such as Europe/Berlin.">
        {(ids) => (
          <input
            {...ids}
            value={text.timezone}
            onInput={(event) => set({ timezone: event.currentTarget.value })}
            data-testid={`${prefix}-timezone`}
          />
        )}
      </Field>
      <Field label="Metered links" hint="As the device's network manager says.">
        {(ids) => (
          <select
            {...ids}
            value={text.metered}
            onChange={(event) => set({ metered: event.currentTarget.value as DeliveryText["metered"] })}
            data-testid={`${prefix}-metered`}
          >
            <option value="allow">fetch over them, too</option>
            <option value="wait">wait for another link</option>
          </select>
        )}
      </Field>
      <Field label="Way" hint="HTTPS helps where a proxy holds MQTT up.">
        {(ids) => (
          <select
            {...ids}
            value={text.transport}
            onChange={(event) => set({ transport: event.currentTarget.value as DeliveryText["transport"] })}
            data-testid={`${prefix}-transport`}
          >
            <option value="auto">MQTT, else HTTPS</option>
            <option value="mqtt">MQTT only</option>
            <option value="https">HTTPS only</option>
          </select>
        )}
      </Field>
      <Field label="Spread the starts over, minutes" hint="Each device begins at a random moment of it.">
        {(ids) => (
          <input
            {...ids}
            type="number"
            min="0"
            step="any"
            value={text.startWithin}
            onInput={(event) => set({ startWithin: event.currentTarget.value })}
            data-testid={`${prefix}-start-within`}
          />
        )}
      </Field>
    </div>
  );
}

interface DialogProps {
  title: string;
  rules: DeliveryRules;
  path: string;
  fleet?: boolean;
  onClose: () => void;
  saved: () => void;
}
function DeliveryDialog({ title, rules, path, fleet = false, onClose, saved }: DialogProps) {
  const [text, setText] = useState(deliveryText(rules));
  const read = readDelivery(text, fleet);
  const save = useAction(() => put(path, read).then(saved), onClose);
  return (
    <Dialog title={title} onClose={onClose} wide testid="delivery-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (typeof read !== "string") save.run();
        }}
      >
        <div class="dialog-body">
          {save.error && <Failure error={save.error} />}
          <p class="note">
            {fleet
              ? "For every device; a device may have stricter rules of its own. Downloads under way are told."
              : "Beside the rules of the fleet: the strictest of both counts. A download under way is told."}
          </p>
          <DeliveryFields text={text} onChange={setText} fleet={fleet} prefix="delivery" />
          {typeof read === "string" && <p class="problem">{read}</p>}
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={save.busy || typeof read === "string"} data-testid="delivery-save">
            Save
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Words({ rules }: { rules: Parameters<typeof deliveryWords>[0] }) {
  const words = deliveryWords(rules);
  return words.length === 0 ? (
    <p>Nothing is limited: devices fetch at once, as fast as they can.</p>
  ) : (
    <ul class="bullets">
      {words.map((each) => (
        <li key={each}>{each}</li>
      ))}
    </ul>
  );
}

function Edit({ onClick }: { onClick: () => void }) {
  return (
    <button type="button" class="small" onClick={onClick} data-testid="delivery-edit">
      Change
    </button>
  );
}

export function FleetDelivery() {
  const rules: Resource<DeliveryRules> = useResource<DeliveryRules>("/delivery", { on: touches("server") });
  const [editing, setEditing] = useState(false);
  const may = useMay("operator") && rules.value !== undefined;
  return (
    <Card title="Downloads of the fleet" testid="fleet-delivery" actions={may && <Edit onClick={() => setEditing(true)} />}>
      <Loaded from={rules} lines={2}>
        {(value) => <Words rules={value} />}
      </Loaded>
      {editing && rules.value && (
        <DeliveryDialog
          title="Downloads of the fleet"
          rules={rules.value}
          path="/delivery"
          fleet
          onClose={() => setEditing(false)}
          saved={rules.reload}
        />
      )}
    </Card>
  );
}

export function DeviceDeliveryCard({ name }: { name: string }) {
  const path = `/devices/${encodeURIComponent(name)}/delivery`;
  const rules = useResource<DeviceDelivery>(path, { on: touches("device", name), everyMs: 3000 });
  const [editing, setEditing] = useState(false);
  const may = useMay("operator") && rules.value !== undefined;
  return (
    <Card title="Downloads" testid="device-delivery" actions={may && <Edit onClick={() => setEditing(true)} />}>
      <Loaded from={rules} lines={2}>
        {(value) => (
          <>
            <Words rules={value.counts} />
            {deliveryWords(value.fleet).length > 0 && (
              <p class="note">
                With the rules <Link href="/settings">of the fleet</Link>; the strictest counts.
              </p>
            )}
          </>
        )}
      </Loaded>
      {editing && rules.value && (
        <DeliveryDialog
          title={`Downloads of ${name}`}
          rules={rules.value.own}
          path={path}
          onClose={() => setEditing(false)}
          saved={rules.reload}
        />
      )}
    </Card>
  );
}
