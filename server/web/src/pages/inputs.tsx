// Inputs that a device sent under a privacy policy: nothing unless somebody said so, and each look is written down.

import { useEffect, useRef, useState } from "preact/hooks";
import { del, get, put } from "../api/client";
import type { DeviceSampling, InputValues, SampledInput } from "../api/drift";
import { asApiError, useResource } from "../api/resource";
import { useMay } from "../api/session";
import { asPicture, maybePicture, privacyWords } from "../text/drift";
import { ago, bytes, date, part, plural, shape, short } from "../text/format";
import { Confirm, Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { useNow } from "../ui/now";
import { Card, Failure, Loaded, Notice } from "../ui/parts";

const SHOWN = 24;

export function Inputs({ device }: { device: string }) {
  const path = `/devices/${encodeURIComponent(device)}`;
  const sampling = useResource<DeviceSampling>(`${path}/sampling`, { on: (change) => change.kind === "device" || change.kind === "server", everyMs: 5000 });
  const inputs = useResource<SampledInput[]>(`${path}/inputs?limit=${SHOWN}`, { pollMs: 30_000 });
  const [asked, setAsked] = useState<"policy" | "delete" | null>(null);
  const admin = useMay("admin");
  const operator = useMay("operator");
  const some = (inputs.value?.length ?? 0) > 0;
  return (
    <Card
      title="Sampled inputs"
      actions={
        <>
          {operator && some && (
            <button type="button" class="small danger" onClick={() => setAsked("delete")} data-testid="inputs-delete">
              Delete all
            </button>
          )}
          {admin && sampling.value && (
            <button type="button" class="small" onClick={() => setAsked("policy")} data-testid="sampling-edit">
              Change the policy
            </button>
          )}
        </>
      }
      testid="inputs"
    >
      <Loaded from={sampling} lines={1}>
        {(value) => (
          <Notice tone={value.counts.per_hour === 0 ? "good" : "warn"} testid="sampling-words">
            <p>{privacyWords(value.counts)}</p>
            {value.own && value.own.actor && (
              <p class="note">
                Set for this device by {value.own.actor}, {date(value.own.updated_at)}.
              </p>
            )}
          </Notice>
        )}
      </Loaded>
      <Loaded from={inputs} lines={2}>
        {(all) =>
          all.length === 0 ? (
            <p class="note">None was sent in the last seven days.</p>
          ) : (
            <Gallery inputs={all} may={operator} reload={inputs.reload} />
          )
        }
      </Loaded>
      {asked === "policy" && sampling.value && (
        <PolicyDialog device={device} path={`${path}/sampling`} sampling={sampling.value} onClose={() => setAsked(null)} reload={sampling.reload} />
      )}
      {asked === "delete" && (
        <Confirm
          title={`Delete the sampled inputs of ${device}?`}
          verb="Delete"
          onClose={() => setAsked(null)}
          act={() => del(`${path}/inputs`).then(inputs.reload)}
          testid="inputs-delete-confirm"
        >
          <p>They are gone for good. Figures of drift stay: they are made of counts.</p>
        </Confirm>
      )}
    </Card>
  );
}

function Gallery({ inputs, may, reload }: { inputs: readonly SampledInput[]; may: boolean; reload: () => void }) {
  const [values, setValues] = useState<Record<string, InputValues | string>>({});
  const [busy, setBusy] = useState(false);
  const unseen = inputs.filter((each) => !(each.id in values));
  const look = async (some: readonly SampledInput[]) => {
    setBusy(true);
    for (const each of some) {
      const found = await get<InputValues>(`/inputs/${encodeURIComponent(each.id)}?format=json`).catch((failed: unknown) => asApiError(failed).message);
      setValues((old) => ({ ...old, [each.id]: found }));
    }
    setBusy(false);
  };
  return (
    <>
      {may ? (
        unseen.length > 0 && (
          <div class="row">
            <button type="button" class="small" disabled={busy} onClick={() => void look(unseen)} data-testid="inputs-look">
              <Icon name="search" />
              {busy ? "Looking …" : `Look at ${plural(unseen.length, "input")}`}
            </button>
            <span class="note">The audit log notes that you looked.</span>
          </div>
        )
      ) : (
        <p class="note">Operators may look at what they hold.</p>
      )}
      <ul class="inputs-grid">
        {inputs.map((each) => (
          <li key={each.id} data-testid={`input-${each.id}`}>
            <Shown input={each} values={values[each.id]} />
            <About input={each} may={may} reload={reload} />
          </li>
        ))}
      </ul>
    </>
  );
}

function Shown({ input, values }: { input: SampledInput; values: InputValues | string | undefined }) {
  if (values === undefined) {
    return (
      <div class="input-closed" aria-hidden="true">
        <Icon name={maybePicture(input) ? "model" : "chart"} />
        {shape(input.shape)}
      </div>
    );
  }
  if (typeof values === "string") return <div class="input-closed">{values}</div>;
  return maybePicture(input) ? <PictureOf input={values} /> : <Numbers input={values} />;
}

/** Drawn by ourselves on a canvas: what a device sent is never handed to a decoder of pictures. */
function PictureOf({ input }: { input: InputValues }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const picture = asPicture(input.shape, input.values);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !picture) return;
    context.putImageData(new ImageData(picture.rgba, picture.width, picture.height), 0, 0);
  }, [input]);
  if (!picture) return <Numbers input={input} />;
  return (
    <canvas
      ref={canvas}
      class="input-picture"
      width={picture.width}
      height={picture.height}
      role="img"
      aria-label={`Input of ${date(input.at)}, ${picture.width} by ${picture.height}`}
    />
  );
}

const NUMBERS = 16;

function Numbers({ input }: { input: InputValues }) {
  const some = input.values.filter((value): value is number => value !== null);
  return (
    <div class="input-numbers">
      <code>
        {input.values.slice(0, NUMBERS).map(short).join(", ")}
        {input.values.length > NUMBERS && ", …"}
      </code>
      <span class="note">
        {plural(input.values.length, "value")}
        {some.length > 0 && `, ${short(some.reduce((low, value) => Math.min(low, value), Infinity))} to ${short(some.reduce((high, value) => Math.max(high, value), -Infinity))}`}
      </span>
    </div>
  );
}

function About({ input, may, reload }: { input: SampledInput; may: boolean; reload: () => void }) {
  const now = useNow(30_000);
  const remove = useAction(() => del(`/inputs/${encodeURIComponent(input.id)}`), reload);
  return (
    <div class="input-about">
      <b>{input.label === null ? "no class" : `class ${input.label}`}</b> {input.confidence !== null && part(input.confidence)}
      <span class="note" title={date(input.at)}>
        {ago(input.at, now)}, {input.why}, {bytes(input.bytes)}
      </span>
      {remove.error && <Failure error={remove.error} />}
      {may && (
        <span class="row tight">
          <a class="button small" href={`/api/v1/inputs/${encodeURIComponent(input.id)}`} download>
            npz
          </a>
          <button type="button" class="small danger" disabled={remove.busy} onClick={remove.run}>
            Delete
          </button>
        </span>
      )}
    </div>
  );
}

interface PolicyProps {
  device: string;
  path: string;
  sampling: DeviceSampling;
  onClose: () => void;
  reload: () => void;
}
function PolicyDialog({ device, path, sampling, onClose, reload }: PolicyProps) {
  const [perHour, setPerHour] = useState(String(sampling.counts.per_hour));
  const [below, setBelow] = useState(String(sampling.counts.low_confidence_percent));
  const rule = { per_hour: Number(perHour), low_confidence_percent: Number(below) };
  const good = (value: number, most: number) => Number.isInteger(value) && value >= 0 && value <= most;
  const ready = good(rule.per_hour, 3600) && good(rule.low_confidence_percent, 100);
  const save = useAction(() => put(path, rule).then(reload), onClose);
  const forget = useAction(() => del(path).then(reload), onClose);
  return (
    <Dialog title={`Inputs that ${device} may send`} onClose={onClose} testid="sampling-dialog">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) save.run();
        }}
      >
        <div class="dialog-body">
          {(save.error ?? forget.error) && <Failure error={(save.error ?? forget.error)!} />}
          <Field label="At most an hour" hint="0: none leaves the device.">
            {(ids) => <input {...ids} inputMode="numeric" value={perHour} onInput={(event) => setPerHour(event.currentTarget.value)} data-testid="sampling-per-hour" />}
          </Field>
          <Field label="Only where the answer is less sure than, %" hint="0: any input, at random.">
            {(ids) => <input {...ids} inputMode="numeric" value={below} onInput={(event) => setBelow(event.currentTarget.value)} data-testid="sampling-below" />}
          </Field>
          {ready && <p>{privacyWords(rule)}</p>}
          <p class="note">Whoever owns the device may have forbidden it on the device itself; then nothing comes whatever is set here.</p>
        </div>
        <footer>
          {sampling.own && (
            <button type="button" disabled={forget.busy} onClick={forget.run}>
              As its groups and the fleet say
            </button>
          )}
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!ready || save.busy} data-testid="sampling-save">
            Save
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
