import { useState } from "preact/hooks";
import type { Channel, ChannelKind } from "../api/alerts";
import { put } from "../api/client";
import { channelBody, type ChannelForm, channelProblem, formOf, NEW_CHANNEL } from "../text/channel_form";
import { Dialog, useAction } from "../ui/dialog";
import { Choice, Field } from "../ui/field";
import { Failure } from "../ui/parts";

const KINDS: readonly (readonly [ChannelKind, string])[] = [
  ["webhook", "Webhook"],
  ["email", "E-mail"],
  ["mqtt", "MQTT"],
];
const SEVERITIES = [
  ["info", "everything"],
  ["warning", "warnings and worse"],
  ["critical", "only critical ones"],
] as const;
const SECRET: Record<ChannelKind, { label: string; hint: string }> = {
  webhook: { label: "Secret for the signature", hint: "Each call is signed with it (HMAC-SHA-256), so that its receiver can tell it is ours." },
  email: { label: "Password", hint: "Of the user name above." },
  mqtt: { label: "Password", hint: "Of the user name above." },
};

interface Props {
  channel: Channel | null;
  onClose: () => void;
  reload: () => void;
}
export function ChannelDialog({ channel, onClose, reload }: Props) {
  const [form, setForm] = useState<ChannelForm>(channel ? formOf(channel) : NEW_CHANNEL);
  const set = (change: Partial<ChannelForm>) => setForm((old) => ({ ...old, ...change }));
  const problem = channelProblem(form);
  const save = useAction(() => put(`/alert-channels/${encodeURIComponent(form.name)}`, channelBody(form)).then(reload), onClose);
  const text = (key: "url" | "to" | "from" | "host" | "port" | "username" | "prefix", label: string, hint?: string, placeholder?: string) => (
    <Field label={label} hint={hint}>
      {(ids) => (
        <input
          {...ids}
          autocomplete="off"
          placeholder={placeholder}
          value={form[key]}
          onInput={(event) => set({ [key]: event.currentTarget.value })}
          data-testid={`channel-${key}`}
        />
      )}
    </Field>
  );
  return (
    <Dialog title={channel ? `Change ${channel.name}` : "New channel"} onClose={onClose} wide testid="channel-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (problem === null) save.run();
        }}
      >
        <div class="dialog-body">
          {save.error && <Failure error={save.error} />}
          {!channel && (
            <>
              <Choice
                label="Kind"
                value={form.kind}
                options={KINDS}
                onChange={(kind) => set({ kind, port: kind === "mqtt" ? "1883" : "587" })}
                testid="channel-kind"
              />
              <Field label="Name">
                {(ids) => (
                  <input
                    {...ids}
                    autofocus
                    class="mono"
                    autocomplete="off"
                    maxLength={63}
                    placeholder="ops"
                    value={form.name}
                    onInput={(event) => set({ name: event.currentTarget.value.trim() })}
                    data-testid="channel-name"
                  />
                )}
              </Field>
            </>
          )}
          {form.kind === "webhook" && (
            <>
              {text("url", "Address", undefined, "https://…")}
              <div class="row">
                <Choice
                  label="Body"
                  value={form.template}
                  options={
                    [
                      ["edgepress", "Our JSON"],
                      ["slack", "Slack"],
                      ["teams", "Teams"],
                    ] as const
                  }
                  onChange={(template) => set({ template })}
                />
                <label class="check">
                  <input type="checkbox" checked={form.allow_private} onChange={(event) => set({ allow_private: event.currentTarget.checked })} data-testid="channel-private" />
                  It may be an address of the private network
                </label>
              </div>
            </>
          )}
          {form.kind === "email" && (
            <>
              {text("to", "To", "Several with commas.", "ops@example.org")}
              <div class="pair-fields">
                {text("from", "From", "Empty: as the server's settings say.")}
                {text("host", "Mail server", "Empty: as the server's settings say.")}
                {text("port", "Port")}
              </div>
              <div class="pair-fields">
                <Field label="Encryption">
                  {(ids) => (
                    <select {...ids} value={form.security} onChange={(event) => set({ security: event.currentTarget.value as ChannelForm["security"] })}>
                      <option value="starttls">STARTTLS</option>
                      <option value="tls">TLS from the start</option>
                      <option value="none">none: readable on the way</option>
                    </select>
                  )}
                </Field>
                {text("username", "User name")}
              </div>
            </>
          )}
          {form.kind === "mqtt" && (
            <>
              <div class="pair-fields">
                {text("host", "Broker", "Empty: the server's own.")}
                {form.host.trim() !== "" && text("port", "Port")}
                {form.host.trim() !== "" && text("username", "User name")}
              </div>
              {text("prefix", "Topic", "The state of each alert is retained below it: …/{severity}/{rule}")}
              {form.host.trim() !== "" && (
                <label class="check">
                  <input type="checkbox" checked={form.tls} onChange={(event) => set({ tls: event.currentTarget.checked })} />
                  TLS
                </label>
              )}
            </>
          )}
          {(form.kind !== "mqtt" || form.host.trim() !== "") && (
            <Field label={SECRET[form.kind].label} hint={channel?.has_secret ? "One is kept and never shown. Empty: it stays." : SECRET[form.kind].hint}>
              {(ids) => (
                <input
                  {...ids}
                  type="password"
                  autocomplete="new-password"
                  value={form.secret}
                  onInput={(event) => set({ secret: event.currentTarget.value })}
                  data-testid="channel-secret"
                />
              )}
            </Field>
          )}
          <div class="row apart">
            <Field label="Told of">
              {(ids) => (
                <select {...ids} value={form.least_severity} onChange={(event) => set({ least_severity: event.currentTarget.value as ChannelForm["least_severity"] })}>
                  {SEVERITIES.map(([each, word]) => (
                    <option key={each} value={each}>
                      {word}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            <label class="check">
              <input type="checkbox" checked={form.enabled} onChange={(event) => set({ enabled: event.currentTarget.checked })} />
              Switched on
            </label>
          </div>
        </div>
        <footer>
          {problem && form.name !== "" && <span class="footer-note">{problem}</span>}
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={problem !== null || save.busy} data-testid="channel-save">
            Save
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
