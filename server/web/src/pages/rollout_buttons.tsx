// What a person may do to a rollout. Each says first what will happen.

import { useState } from "preact/hooks";
import { post, query } from "../api/client";
import type { Rollout } from "../api/rollouts";
import { useMay } from "../api/session";
import { plural } from "../text/format";
import { isFinal, rolloutTotal, stageName } from "../text/rollout";
import { Confirm, Dialog, useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Failure } from "../ui/parts";

type Asked = "pause" | "resume" | "abort" | "rollback" | "approve" | null;

export function RolloutButtons({ rollout, reload }: { rollout: Rollout; reload: () => void }) {
  const may = useMay("operator");
  const [asked, setAsked] = useState<Asked>(null);
  if (!may) return null;
  const { state } = rollout;
  const open = !isFinal(state) && state !== "rolling_back";
  const wentBack = state === "draft" || rollout.rolled_back_by.length > 0;
  const told = (rollout.counts.committed ?? 0) > 0;
  const close = () => setAsked(null);
  const order = (path: string) => () => post(`/rollouts/${rollout.id}/${path}`).then(reload);
  return (
    <>
      {rollout.awaits_approval !== null && (
        <button type="button" class="primary" onClick={() => setAsked("approve")} data-testid="rollout-approve">
          Approve
        </button>
      )}
      {open && state === "paused" && (
        <button type="button" class="primary" onClick={() => setAsked("resume")} data-testid="rollout-resume">
          Resume
        </button>
      )}
      {open && state !== "paused" && (
        <button type="button" onClick={() => setAsked("pause")} data-testid="rollout-pause">
          Pause
        </button>
      )}
      {open && (
        <button type="button" class="danger" onClick={() => setAsked("abort")} data-testid="rollout-abort">
          Abort
        </button>
      )}
      {!wentBack && state !== "rolling_back" && told && (
        <button type="button" class="danger" onClick={() => setAsked("rollback")} data-testid="rollout-rollback">
          Roll back
        </button>
      )}
      {asked === "approve" && <Approve rollout={rollout} onClose={close} act={order("approve" + query({ stage: rollout.awaits_approval }))} />}
      {asked === "pause" && (
        <Confirm title="Pause this rollout?" verb="Pause" onClose={close} act={order("pause")} testid="rollout-pause-confirm">
          <p>
            {underWay(rollout)} No other device is told until somebody resumes it.
          </p>
        </Confirm>
      )}
      {asked === "resume" && <ResumeDialog rollout={rollout} onClose={close} reload={reload} />}
      {asked === "abort" && (
        <Confirm title="Abort this rollout?" verb="Abort" onClose={close} act={order("abort")} testid="rollout-abort-confirm">
          <p>{abortWords(rollout)} An aborted rollout cannot be resumed.</p>
        </Confirm>
      )}
      {asked === "rollback" && <RollBackDialog rollout={rollout} onClose={close} reload={reload} />}
    </>
  );
}

function underWay({ counts }: Rollout): string {
  const busy = (counts.wanted ?? 0) + (counts.fetching ?? 0) + (counts.trial ?? 0);
  return busy === 0 ? "No device is at it now." : `${plural(busy, "device")} that ${busy === 1 ? "has" : "have"} begun may finish.`;
}

function abortWords(rollout: Rollout): string {
  const done = rollout.counts.committed ?? 0;
  const unfinished = rolloutTotal(rollout) - done - (rollout.counts.skipped ?? 0);
  const kept = done > 0 ? ` The ${plural(done, "device")} that run${done === 1 ? "s" : ""} the new one keep${done === 1 ? "s" : ""} it; roll back to change that.` : "";
  return `Downloads under way stop. ${plural(unfinished, "device")} that did not finish ${
    unfinished === 1 ? "keeps or gets" : "keep or get"
  } back the previous model.${kept}`;
}

function Approve({ rollout, onClose, act }: { rollout: Rollout; onClose: () => void; act: () => Promise<unknown> }) {
  const action = useAction(act, onClose);
  const stage = stageName(rollout.awaits_approval ?? 0, rollout.policy.waves.length);
  const waiting = rollout.counts.waiting ?? 0;
  return (
    <Dialog title={`Let ${stage} begin?`} onClose={onClose}>
      <div class="dialog-body">
        <p>
          The devices of {stage} are told at once, as far as the policy's rate allows. {plural(waiting, "device")} in all{" "}
          {waiting === 1 ? "waits" : "wait"} so far. Your name stands beside it in the log.
        </p>
        {action.error && <Failure error={action.error} />}
      </div>
      <footer>
        <button type="button" onClick={onClose} autofocus>
          Cancel
        </button>
        <button type="button" class="primary" disabled={action.busy} onClick={action.run} data-testid="rollout-approve-confirm">
          Approve
        </button>
      </footer>
    </Dialog>
  );
}

interface DialogProps {
  rollout: Rollout;
  onClose: () => void;
  reload: () => void;
}
function ResumeDialog({ rollout, onClose, reload }: DialogProps) {
  const [overrule, setOverrule] = useState(false);
  const failed = rollout.counts.failed ?? 0;
  const action = useAction(
    () => post(`/rollouts/${rollout.id}/resume${overrule ? "?overrule=true" : ""}`).then(reload),
    onClose,
  );
  const gates = Object.entries(rollout.policy.gates).some(
    ([name, value]) => value !== null && !["confidence", "min_devices", "min_inferences"].includes(name),
  );
  return (
    <Dialog title="Resume this rollout?" onClose={onClose}>
      <div class="dialog-body">
        <p>
          It goes on with {stageName(rollout.wave, rollout.policy.waves.length)}.{" "}
          {failed > 0 && `${plural(failed, "device")} that failed ${failed === 1 ? "tries" : "try"} again. `}
          {gates && "Its gates judge by figures from now on."}
        </p>
        {rollout.reason && <p class="note">It stopped because: {rollout.reason}</p>}
        {gates && (
          <label class="check">
            <input
              type="checkbox"
              checked={overrule}
              onChange={(event) => setOverrule(event.currentTarget.checked)}
              data-testid="rollout-overrule"
            />
            <span>
              Overrule the gates of this stage
              <span class="sub">They are not looked at until the next stage; the log says who decided it.</span>
            </span>
          </label>
        )}
        {action.error && <Failure error={action.error} />}
      </div>
      <footer>
        <button type="button" onClick={onClose} autofocus>
          Cancel
        </button>
        <button type="button" class="primary" disabled={action.busy} onClick={action.run} data-testid="rollout-resume-confirm">
          Resume
        </button>
      </footer>
    </Dialog>
  );
}

function RollBackDialog({ rollout, onClose, reload }: DialogProps) {
  const [reason, setReason] = useState("");
  const done = rollout.counts.committed ?? 0;
  const action = useAction(
    () => post(`/rollouts/${rollout.id}/rollback${query({ reason: reason.trim() })}`).then(reload),
    onClose,
  );
  return (
    <Dialog title="Roll this rollout back?" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          action.run();
        }}
      >
        <div class="dialog-body">
          <p>
            {plural(done, "device")} that run{done === 1 ? "s" : ""} the new model get{done === 1 ? "s" : ""} back what{" "}
            {done === 1 ? "it" : "they"} ran before, by a rollout of {done === 1 ? "its" : "their"} own under a new
            release, because devices refuse to go back to an old one. The others keep or get back their previous model.
          </p>
          <Field label="Why (for the log)">
            {(ids) => (
              <input
                {...ids}
                autofocus
                maxLength={500}
                value={reason}
                onInput={(event) => setReason(event.currentTarget.value)}
                data-testid="rollout-rollback-reason"
              />
            )}
          </Field>
          {action.error && <Failure error={action.error} />}
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={action.busy} data-testid="rollout-rollback-confirm">
            Roll back
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
