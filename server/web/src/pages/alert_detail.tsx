// One alert: what is so, since when, of whom; the measure with its threshold; its story; what to do.

import { useState } from "preact/hooks";
import type { AlertDetail, Member, Runbook, SentNotice, Transition } from "../api/alerts";
import { post, query } from "../api/client";
import { touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { alertWord, happenedWord, lastedWords, noticeWords, severityWords, subjectWords, valueWords } from "../text/alerts";
import { ago, date, plural, time } from "../text/format";
import { useAction } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { Link } from "../ui/link";
import { Markdown } from "../ui/markdown";
import { useNow } from "../ui/now";
import { Badge, Card, Fact, Failure, Loaded, Page } from "../ui/parts";
import { AcknowledgeDialog } from "./alert_acknowledge";
import { AlertChart } from "./alert_chart";
import { Where } from "./alerts";
import { withoutTitle } from "./runbook";
import { SilenceDialog } from "./silence_dialog";

export function AlertPage({ id }: { id: string }) {
  const path = `/alerts/${encodeURIComponent(id)}`;
  const alert = useResource<AlertDetail>(path, { on: touches("alert", id), everyMs: 800, pollMs: 30_000 });
  return (
    <Page
      title={alert.value?.title ?? "Alert"}
      above={<Link href="/alerts">Alerts</Link>}
      actions={alert.value && alert.value.state === "firing" && <Buttons alert={alert.value} path={path} reload={alert.reload} />}
    >
      <Loaded from={alert} lines={8}>
        {(value) => (
          <>
            <Now alert={value} />
            <AlertChart alert={value} />
            <div class="columns">
              <div class="stack">
                <Members alert={value} />
                <Story transitions={value.timeline} whole={value} />
                <Told notices={value.notices} />
              </div>
              <WhatToDo alert={value} />
            </div>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Buttons({ alert, path, reload }: { alert: AlertDetail; path: string; reload: () => void }) {
  const [asked, setAsked] = useState<"acknowledge" | "silence" | null>(null);
  const release = useAction(() => post(`${path}/unacknowledge`), reload);
  const may = useMay("operator");
  if (!may) return null;
  return (
    <>
      {release.error && <Failure error={release.error} />}
      {!alert.silenced && (
        <button type="button" onClick={() => setAsked("silence")} data-testid="alert-silence">
          <Icon name="mute" />
          Silence
        </button>
      )}
      {alert.acknowledged_by === null ? (
        <button type="button" class="primary" onClick={() => setAsked("acknowledge")} data-testid="alert-acknowledge">
          <Icon name="check" />
          Acknowledge
        </button>
      ) : (
        <button type="button" disabled={release.busy} onClick={release.run} data-testid="alert-unacknowledge">
          Take the acknowledgement back
        </button>
      )}
      {asked === "acknowledge" && <AcknowledgeDialog alert={alert} onClose={() => setAsked(null)} then={reload} />}
      {asked === "silence" && <SilenceDialog about={alert} onClose={() => setAsked(null)} then={reload} />}
    </>
  );
}

function Now({ alert }: { alert: AlertDetail }) {
  const now = useNow();
  const limit = alert.fire_at === null ? null : `${alert.direction} ${valueWords(alert.fire_at, alert.unit, alert.aggregate)}`;
  return (
    <Card testid="alert">
      <p class="row">
        <Badge word={alertWord(alert)} testid="alert-state" />
        {alertWord(alert).text !== alert.severity && <Badge word={severityWords[alert.severity]} />}
        <span class="note alert-about">
          <Where alert={alert} />
        </span>
      </p>
      <p class="alert-said" data-testid="alert-sentence" aria-live="polite">
        {alert.sentence}
      </p>
      <dl class="facts">
        <Fact name="Since">
          {date(alert.state === "firing" ? alert.since : alert.opened_at)}
          <span class="sub">
            {lastedWords(alert, now)}
            {alert.since > alert.opened_at && `, first ${date(alert.opened_at)}`}
          </span>
        </Fact>
        {alert.resolved_at !== null && <Fact name="Resolved">{date(alert.resolved_at)}</Fact>}
        <Fact name={alert.state === "firing" ? "Concerns" : "Concerned at most"}>
          {alert.state === "firing" ? alert.subjects.toLocaleString("en-US") : alert.most_subjects.toLocaleString("en-US")}
          {alert.state === "firing" && alert.most_subjects > alert.subjects && <span class="sub">{alert.most_subjects.toLocaleString("en-US")} at most</span>}
        </Fact>
        {alert.worst !== null && alert.unit !== "" && <Fact name="Worst">{valueWords(alert.worst, alert.unit, alert.aggregate)}</Fact>}
        {limit && (
          <Fact name="Fires">
            {limit}
            {alert.resolve_at !== null && alert.resolve_at !== alert.fire_at && (
              <span class="sub">resolves at {valueWords(alert.resolve_at, alert.unit, alert.aggregate)}</span>
            )}
          </Fact>
        )}
        <Fact name="Rule">
          <Link href={`/alerts/rules?rule=${encodeURIComponent(alert.rule)}`}>{alert.rule}</Link>
        </Fact>
        {alert.acknowledged_by && (
          <Fact name="On it" testid="alert-acknowledged">
            {alert.acknowledged_by}
            <span class="sub">
              {alert.acknowledged_note || ago(alert.acknowledged_at, now)}
            </span>
          </Fact>
        )}
      </dl>
    </Card>
  );
}

const MEMBERS = 50;

function Members({ alert }: { alert: AlertDetail }) {
  const [offset, setOffset] = useState(0);
  const more = useResource<{ total: number; members: Member[] }>(
    offset > 0 ? `/alerts/${encodeURIComponent(alert.id)}/members${query({ offset, limit: MEMBERS })}` : null,
    { on: touches("alert", alert.id), everyMs: 2000 },
  );
  const members = offset === 0 ? alert.members.slice(0, MEMBERS) : (more.value?.members ?? []);
  const total = offset === 0 ? Math.max(alert.subjects, alert.members.length) : (more.value?.total ?? alert.subjects);
  const now = useNow();
  if (alert.members.length === 0) return null;
  return (
    <Card flush title="Who" note={total > 1 ? plural(total, "subject") : undefined}>
      <div class="table-box" tabIndex={0} role="region" aria-label="Who">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Subject</th>
              <th scope="col" class="num">
                Now
              </th>
              <th scope="col">What</th>
              <th scope="col" class="num">
                Since
              </th>
            </tr>
          </thead>
          <tbody>
            {members.map((member) => (
              <tr key={member.subject} data-testid={`alert-member-${member.subject}`}>
                <th scope="row">
                  {member.device ? <Link href={`/devices/${encodeURIComponent(member.device)}`}>{member.device}</Link> : subjectWords(member.subject)}
                  {member.state === "resolving" && <span class="sub">resolving</span>}
                </th>
                <td class="num">{valueWords(member.value, alert.unit, alert.aggregate)}</td>
                <td class="grow">{member.sentence}</td>
                <td class="num">{ago(member.began_at, now)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {total > MEMBERS && (
        <div class="table-foot">
          <button type="button" class="small" disabled={offset === 0} onClick={() => setOffset(Math.max(0, offset - MEMBERS))}>
            Back
          </button>
          <span class="note">
            {offset + 1} to {Math.min(total, offset + MEMBERS)} of {total.toLocaleString("en-US")}
          </span>
          <button type="button" class="small" disabled={offset + MEMBERS >= total} onClick={() => setOffset(offset + MEMBERS)}>
            Next
          </button>
        </div>
      )}
    </Card>
  );
}

const FIRST = 12;

function Story({ transitions, whole }: { transitions: readonly Transition[]; whole: AlertDetail }) {
  const [all, setAll] = useState(false);
  const newest = [...transitions].sort((a, b) => b.at - a.at || b.id - a.id);
  const shown = all ? newest : newest.slice(0, FIRST);
  return (
    <Card title="Its story" note="Newest first">
      {shown.length === 0 && <p class="note">Nothing is kept of it any more.</p>}
      <ol class="alert-story" data-testid="alert-timeline">
        {shown.map((each) => (
          <li key={each.id}>
            <time title={date(each.at)}>{Date.now() - each.at < 86_400_000 ? time(each.at) : date(each.at)}</time>
            <div>
              <Badge word={happenedWord(each.what)} />{" "}
              {each.subject !== "" && whole.most_subjects > 1 && <b>{subjectWords(each.subject)}</b>} {each.sentence}
              {each.actor && <span class="note"> by {each.actor}</span>}
            </div>
          </li>
        ))}
      </ol>
      {newest.length > shown.length && (
        <button type="button" class="small" onClick={() => setAll(true)}>
          {newest.length - shown.length} older
        </button>
      )}
    </Card>
  );
}

function Told({ notices }: { notices: readonly SentNotice[] }) {
  if (notices.length === 0) return null;
  return (
    <Card flush title="Who was told">
      <div class="table-box" tabIndex={0} role="region" aria-label="Who was told">
        <table class="stacking">
          <thead>
            <tr>
              <th scope="col">Channel</th>
              <th scope="col">State</th>
              <th scope="col">What</th>
              <th scope="col" class="num">
                When
              </th>
            </tr>
          </thead>
          <tbody>
            {[...notices].sort((a, b) => b.created_at - a.created_at).map((each) => (
              <tr key={each.id}>
                <th scope="row">{each.channel}</th>
                <td>
                  <Badge word={noticeWords[each.state]} />
                </td>
                <td class="grow">
                  {happenedWord(each.what).text}
                  {(each.answer || each.attempts > 1) && (
                    <span class="sub">
                      {each.attempts > 1 && `${plural(each.attempts, "attempt")}. `}
                      {each.answer}
                    </span>
                  )}
                </td>
                <td class="num">{date(each.ended_at ?? each.created_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** The runbook, where the server has it; else its link. */
function WhatToDo({ alert }: { alert: AlertDetail }) {
  const own = /^\/runbooks\/([\w-]+)$/.exec(alert.runbook)?.[1];
  const runbook = useResource<Runbook>(own ? `/runbooks/${own}` : null);
  return (
    <Card title="What to do" testid="alert-runbook">
      {alert.note && <p>{alert.note}</p>}
      {runbook.value ? (
        <Markdown text={withoutTitle(runbook.value.text)} />
      ) : own ? (
        runbook.error &&
        (runbook.error.status === 404 ? (
          <p class="note">Nobody has written down yet what to do. Give its rule a runbook: one of ours, or an address of yours.</p>
        ) : (
          <Failure error={runbook.error} retry={runbook.reload} />
        ))
      ) : alert.runbook ? (
        <a href={alert.runbook} rel="noopener noreferrer" target="_blank">
          {alert.runbook}
        </a>
      ) : (
        !alert.note && <p class="note">Its rule names no runbook.</p>
      )}
    </Card>
  );
}
