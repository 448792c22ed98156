// Whom alerts are told: addresses that are called, mail, MQTT. In the application they are always told.

import { useState } from "preact/hooks";
import type { Channel, ChannelTest } from "../api/alerts";
import { del, post } from "../api/client";
import { asApiError, touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { channelWords } from "../text/channel_form";
import { ago, plural } from "../text/format";
import { Confirm } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Notice, Page } from "../ui/parts";
import { ALERT_TABS, Tabs } from "../ui/tabs";
import { ChannelDialog } from "./alert_channel_dialog";

export function AlertChannelsPage() {
  const channels = useResource<Channel[]>("/alert-channels", { on: touches("alert"), everyMs: 1000, pollMs: 30_000 });
  const [editing, setEditing] = useState<Channel | "new" | null>(null);
  const may = useMay("admin");
  const create = may && (
    <button type="button" class="primary" onClick={() => setEditing("new")} data-testid="channel-open">
      <Icon name="plus" />
      New channel
    </button>
  );
  return (
    <Page title="Alerts" lead="Whom alerts are told. Whoever looks at these pages is told always, at once." actions={create}>
      <Tabs label="Alerts" tabs={ALERT_TABS} here="/alerts/channels" />
      <Loaded from={channels} lines={4}>
        {(all) =>
          all.length === 0 ? (
            <Card>
              <Empty icon="push" title="No channel yet" action={create}>
                A webhook, mail or MQTT topic that is told when an alert opens, grows and resolves.
              </Empty>
            </Card>
          ) : (
            <ul class="stack" data-testid="channels">
              {all.map((channel) => (
                <li key={channel.name}>
                  <ChannelCard channel={channel} may={may} onEdit={() => setEditing(channel)} reload={channels.reload} />
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      {editing && <ChannelDialog channel={editing === "new" ? null : editing} onClose={() => setEditing(null)} reload={channels.reload} />}
    </Page>
  );
}

const TOLD = { info: "everything", warning: "warnings and worse", critical: "critical alerts only" } as const;
const KIND = { webhook: "Webhook", email: "E-mail", mqtt: "MQTT" } as const;

function ChannelCard({ channel, may, onEdit, reload }: { channel: Channel; may: boolean; onEdit: () => void; reload: () => void }) {
  const now = useNow();
  const [removing, setRemoving] = useState(false);
  const [test, setTest] = useState<ChannelTest | "busy" | null>(null);
  const path = `/alert-channels/${encodeURIComponent(channel.name)}`;
  const tryIt = () => {
    setTest("busy");
    post<ChannelTest>(`${path}/test`).then(setTest, (failed: unknown) =>
      setTest({ ok: false, answer: asApiError(failed).message, took_ms: 0 }),
    );
  };
  const failing = channel.failed_at !== null && channel.failed_at > (channel.sent_at ?? 0);
  return (
    <Card
      testid={`channel-${channel.name}`}
      title={
        <span class="row">
          {channel.name}
          {!channel.enabled ? (
            <Badge word={{ text: "switched off", tone: "idle" }} />
          ) : failing ? (
            <Badge word={{ text: "failing", tone: "bad" }} />
          ) : channel.sent_at ? (
            <Badge word={{ text: "works", tone: "good" }} />
          ) : (
            <Badge word={{ text: "not used yet", tone: "idle" }} />
          )}
        </span>
      }
      note={`${KIND[channel.kind]}: ${channelWords(channel)}`}
      actions={
        may && (
          <>
            <button type="button" class="small" disabled={test === "busy"} onClick={tryIt} data-testid={`channel-test-${channel.name}`}>
              <Icon name="push" />
              {test === "busy" ? "Sending …" : "Send a test"}
            </button>
            <button type="button" class="small" onClick={onEdit} data-testid={`channel-edit-${channel.name}`}>
              Change
            </button>
            <button type="button" class="small danger" onClick={() => setRemoving(true)} aria-label={`Remove ${channel.name}`} data-testid={`channel-remove-${channel.name}`}>
              Remove
            </button>
          </>
        )
      }
    >
      {test !== null && test !== "busy" && (
        <Notice tone={test.ok ? "good" : "bad"} testid={`channel-answer-${channel.name}`}>
          <p>
            {test.ok ? "It arrived" : "It did not arrive"}
            {test.took_ms > 0 && ` (${test.took_ms} ms)`}: {test.answer}
          </p>
        </Notice>
      )}
      <p class="note">
        Told of {TOLD[channel.least_severity]}. {channel.sent_at === null ? "Nothing was sent yet." : `Last sent ${ago(channel.sent_at, now)}.`}
        {channel.waiting > 0 && ` ${plural(channel.waiting, "notice")} ${channel.waiting === 1 ? "waits" : "wait"} to be sent.`}
        {failing && ` Failed ${ago(channel.failed_at, now)}: ${channel.failure}`}
      </p>
      {removing && (
        <Confirm
          title={`Remove the channel ${channel.name}?`}
          verb="Remove"
          onClose={() => setRemoving(false)}
          act={() => del(path).then(reload)}
          testid="channel-remove-confirm"
        >
          <p>What waits to be sent through it is dropped. Rules that name it tell it no more.</p>
        </Confirm>
      )}
    </Card>
  );
}
