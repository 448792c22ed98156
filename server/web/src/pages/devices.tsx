// All devices, a page at a time: what is shown is in the address, so that a link shows everybody the same.

import { useEffect, useMemo, useState } from "preact/hooks";
import { get } from "../api/client";
import type { DevicesAnswer } from "../api/devices_page";
import { telemetryDevices, touches, useResource } from "../api/resource";
import { useMay } from "../api/session";
import type { Change, DeviceStatus, Profile } from "../api/types";
import { useKept } from "../api/use_annotations";
import { apiPath, type Asked, PAGE, readAsked, SORTS } from "../text/devices_address";
import { plural } from "../text/format";
import { deviceWords } from "../text/words";
import { useAction } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { Card, Empty, Failure, Notice, Page, Skeleton } from "../ui/parts";
import { useQuery } from "../ui/route";
import { DEVICE_TABS, Tabs } from "../ui/tabs";
import { throttle } from "../ui/throttle";
import { BulkDialog } from "./bulk_dialog";
import { DeviceTable, revocable } from "./devices_table";
import { RegisterDialog } from "./register";
import { RevokeDialog } from "./revoke_dialog";

const ALL_LIMIT = 500; // rows of one answer while every match is chosen
const TYPING_MS = 250;

export function DevicesPage() {
  const [search, setSearch] = useQuery();
  const asked = readAsked(search);
  const path = apiPath(asked);
  const [names, setNames] = useState<ReadonlySet<string>>(new Set()); // on this page
  const read = useResource<DevicesAnswer>(path, {
    on: (change: Change) => touches("device")(change) || change.kind === "artifact" || telemetryDevices(change).some((name) => names.has(name)),
    everyMs: 2000,
    pollMs: 6000,
  });
  const answer = useKept(read.value);
  useEffect(() => setNames(new Set(answer?.devices.map((device) => device.name))), [answer]);
  const profiles = useResource<Profile[]>("/profiles");
  const profileName = useMemo(() => {
    const known = new Map(profiles.value?.map((profile) => [profile.id, profile.name]));
    return (id: string) => known.get(id) ?? id;
  }, [profiles.value]);
  const [registering, setRegistering] = useState(false);
  const [bulk, setBulk] = useState(false);
  const [chosen, setChosen] = useState<ReadonlySet<string> | null>(null); // null: not choosing
  const [revoking, setRevoking] = useState(false);
  const mayRegister = useMay("operator");
  const registerButton = mayRegister && (
    <button type="button" class="primary" onClick={() => setRegistering(true)} data-testid="register-open">
      <Icon name="plus" />
      Register a device
    </button>
  );
  const choose = (some: readonly string[], on: boolean) => {
    const next = new Set(chosen);
    for (const name of some) {
      if (on) next.add(name);
      else next.delete(name);
    }
    setChosen(next);
  };
  const show = (change: Partial<Record<keyof Asked, string>>) =>
    setSearch({ page: null, ...Object.fromEntries(Object.entries(change).map(([key, value]) => [key, value || null])) });
  const restricted = Boolean(asked.q || asked.where || asked.status || asked.profile);

  return (
    <Page
      title="Devices"
      lead="Every board, PC and phone this server compresses for."
      actions={
        mayRegister && (
          <>
            <button type="button" onClick={() => setBulk(true)} data-testid="bulk-open">
              <Icon name="upload" />
              From a file
            </button>
            {registerButton}
          </>
        )
      }
    >
      <Tabs label="Devices" tabs={DEVICE_TABS} here="/devices" />
      <Card flush>
        {answer === undefined ? (
          read.error && !restricted ? (
            <Failure error={read.error} retry={read.reload} />
          ) : (
            <>
              {restricted && <Filters {...{ asked, show, answer, profileName }} />}
              {read.error ? <Failure error={read.error} retry={read.reload} /> : <Skeleton lines={8} />}
            </>
          )
        ) : answer.total === 0 && !restricted ? (
          <Empty icon="device" title="No device yet" action={registerButton}>
            Register the first one here, or with <code>edgepress device register NAME --profile P</code>. It gets a code
            that the device trades for its credentials.
          </Empty>
        ) : (
          <>
            <Filters {...{ asked, show, answer, profileName }}>
              {mayRegister && (
                <button
                  type="button"
                  class="small"
                  aria-pressed={chosen !== null}
                  onClick={() => setChosen(chosen ? null : new Set())}
                  data-testid="devices-choose"
                >
                  {chosen ? "Choose none" : "Choose"}
                </button>
              )}
            </Filters>
            {read.error && (
              <Notice tone={read.error.status === 400 ? "bad" : "warn"} testid="devices-problem">
                <p>
                  {read.error.status === 400 ? "" : "What you see may be out of date. "}
                  {read.error.message}
                </p>
              </Notice>
            )}
            {chosen && <Chosen {...{ asked, answer, chosen, choose }} revoke={() => setRevoking(true)} />}
            {answer.devices.length === 0 ? (
              <Empty icon="device" title="No device matches">
                Try another word or another status.
              </Empty>
            ) : (
              <DeviceTable
                devices={answer.devices}
                profileName={profileName}
                sort={asked.sort}
                onSort={(sort) => show({ sort })}
                {...(chosen ? { chosen, onChoose: choose } : {})}
              />
            )}
            <Pager answer={answer} go={(page) => setSearch({ page: page > 1 ? String(page) : null })} />
          </>
        )}
      </Card>
      {bulk && <BulkDialog onClose={() => setBulk(false)} />}
      {revoking && chosen && (
        <RevokeDialog names={[...chosen]} onClose={() => setRevoking(false)} done={() => setChosen(null)} />
      )}
      {registering && <RegisterDialog profiles={profiles} onClose={() => setRegistering(false)} />}
    </Page>
  );
}

interface FiltersProps {
  asked: Asked;
  show: (change: Partial<Record<keyof Asked, string>>) => void;
  answer: DevicesAnswer | undefined;
  profileName: (id: string) => string;
  children?: preact.ComponentChildren;
}
function Filters({ asked, show, answer, profileName, children }: FiltersProps) {
  const [typed, setTyped] = useState(asked.q);
  const [where, setWhere] = useState(asked.where);
  const [byQuery, setByQuery] = useState(asked.where !== "");
  useEffect(() => setTyped(asked.q), [asked.q]);
  useEffect(() => setWhere(asked.where), [asked.where]);
  const soon = useMemo(() => throttle(() => latest.show({ q: latest.text }), TYPING_MS), []);
  const latest = useMemo(() => ({ text: "", show }), []);
  latest.show = show;
  const profiles = Object.entries(answer?.profiles ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const matching = answer?.matching ?? 0;
  return (
    <div class="card-head device-filters" role="search">
      <input
        type="search"
        placeholder="Name, profile, label or model"
        aria-label="Search devices"
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          latest.text = event.currentTarget.value.trim();
          soon();
        }}
        data-testid="device-search"
      />
      <select aria-label="Status" value={asked.status} onChange={(event) => show({ status: event.currentTarget.value })} data-testid="device-status-filter">
        <option value="">Every status</option>
        {(Object.keys(deviceWords) as DeviceStatus[]).map((each) => (
          <option key={each} value={each}>
            {deviceWords[each].text}
            {answer?.statuses[each] !== undefined && ` (${answer.statuses[each]!.toLocaleString("en-US")})`}
          </option>
        ))}
      </select>
      <select aria-label="Profile" value={asked.profile} onChange={(event) => show({ profile: event.currentTarget.value })} data-testid="device-profile-filter">
        <option value="">Every profile</option>
        {asked.profile && !profiles.some(([id]) => id === asked.profile) && <option value={asked.profile}>{profileName(asked.profile)}</option>}
        {profiles.map(([id, n]) => (
          <option key={id} value={id}>
            {profileName(id)} ({n.toLocaleString("en-US")})
          </option>
        ))}
      </select>
      <select aria-label="Order" value={asked.sort} onChange={(event) => show({ sort: event.currentTarget.value })} data-testid="device-sort">
        {!SORTS.some(([key]) => key === asked.sort) && <option value={asked.sort}>By a column</option>}
        {SORTS.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
      <span class="row apart whole">
        <span class="note" role="status" data-testid="devices-count">
          {answer && (matching === answer.total ? plural(answer.total, "device") : `${matching.toLocaleString("en-US")} of ${plural(answer.total, "device")}`)}
        </span>
        <span class="row tight">
          <button type="button" class="small" aria-pressed={byQuery} onClick={() => setByQuery(!byQuery)} data-testid="device-by-query">
            By a query
          </button>
          {children}
        </span>
      </span>
      {byQuery && (
        <form
          class="device-where whole"
          onSubmit={(event) => {
            event.preventDefault();
            show({ where: where.trim() });
          }}
        >
          <input
            value={where}
            aria-label="Query"
            placeholder='site = hall-3 and model = kws and not online'
            spellcheck={false}
            onInput={(event) => setWhere(event.currentTarget.value)}
            data-testid="device-where"
          />
          <button type="submit">Find</button>
          {asked.where && (
            <button type="button" class="ghost" onClick={() => show({ where: "" })}>
              Clear
            </button>
          )}
          <p class="note">
            The language of rollouts and groups: name, profile, status, online, model, release, agent, board, group, and every label.
          </p>
        </form>
      )}
    </div>
  );
}

interface ChosenProps {
  asked: Asked;
  answer: DevicesAnswer;
  chosen: ReadonlySet<string>;
  choose: (names: readonly string[], on: boolean) => void;
  revoke: () => void;
}
/** What is chosen, on whichever page, and what may be done with it. */
function Chosen({ asked, answer, chosen, choose, revoke }: ChosenProps) {
  const here = answer.devices.filter(revocable).map((device) => device.name);
  const all = useAction(async () => {
    const found: string[] = [];
    for (let page = 1; found.length === 0 || (page - 1) * ALL_LIMIT < answer.matching; page++) {
      const next = await get<DevicesAnswer>(apiPath({ ...asked, page }, ALL_LIMIT));
      found.push(...next.devices.filter(revocable).map((device) => device.name));
      if (next.devices.length < ALL_LIMIT) break;
    }
    choose(found, true);
  });
  return (
    <div class="table-foot chosen-bar">
      <span role="status">{plural(chosen.size, "device")} chosen</span>
      <button type="button" class="small" onClick={() => choose(here, true)} data-testid="devices-choose-all">
        All {here.length} {answer.matching > answer.devices.length ? "of this page" : "shown"}
      </button>
      {answer.matching > answer.devices.length && (
        <button type="button" class="small" disabled={all.busy} onClick={all.run} data-testid="devices-choose-matching">
          {all.busy ? "Reading their names" : `All ${answer.matching.toLocaleString("en-US")} that match`}
        </button>
      )}
      <button type="button" class="small danger" disabled={chosen.size === 0} onClick={revoke} data-testid="devices-revoke">
        Revoke
      </button>
      {all.error && <Failure error={all.error} />}
    </div>
  );
}

function Pager({ answer, go }: { answer: DevicesAnswer; go: (page: number) => void }) {
  const pages = Math.ceil(answer.matching / PAGE);
  if (pages <= 1) return null;
  const page = Math.floor(answer.offset / PAGE) + 1;
  const last = Math.min(answer.matching, answer.offset + answer.devices.length);
  const step = (to: number) => {
    go(to);
    document.getElementById("content")?.scrollIntoView({ block: "start" });
  };
  return (
    <nav class="table-foot pager" aria-label="Pages">
      <button type="button" class="small" disabled={page <= 1} onClick={() => step(1)} aria-label="First page">
        «
      </button>
      <button type="button" class="small" disabled={page <= 1} onClick={() => step(page - 1)} data-testid="devices-previous">
        Previous
      </button>
      <span role="status">
        {(answer.offset + 1).toLocaleString("en-US")}–{last.toLocaleString("en-US")} of {answer.matching.toLocaleString("en-US")}
      </span>
      <button type="button" class="small" disabled={page >= pages} onClick={() => step(page + 1)} data-testid="devices-more">
        Next
      </button>
      <button type="button" class="small" disabled={page >= pages} onClick={() => step(pages)} aria-label="Last page">
        »
      </button>
    </nav>
  );
}
