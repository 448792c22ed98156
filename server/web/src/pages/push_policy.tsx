// How carefully a rollout goes: canaries, waves, failures, gates; the rest in a fold of its own.

import { NO_RULES } from "../text/delivery";
import { type PolicyText, policySummary, readPolicy } from "../text/policy";
import { Field } from "../ui/field";
import { DeliveryFields } from "./delivery_fields";

type TextKey = { [K in keyof PolicyText]: PolicyText[K] extends string ? K : never }[keyof PolicyText];
interface Row {
  key: TextKey;
  label: string;
  hint: string;
  testid: string;
  text?: boolean; // not a number
  any?: boolean; // not a whole one
}

const MAIN: readonly Row[] = [
  { key: "canary", label: "Canaries a profile", hint: "Devices that try it first; 0 for all at once.", testid: "push-canary" },
  { key: "waves", label: "Waves, percent", hint: "Of each profile, such as 10, 50, 100.", testid: "push-waves", text: true },
  { key: "failed", label: "Failures allowed", hint: "One more stops it. Empty: none, or the share below.", testid: "push-max-failed" },
  { key: "soak", label: "Soak, seconds", hint: "Watched this long at the end.", testid: "push-soak" },
  { key: "p95", label: "p95 latency limit, ms", hint: "On the device, in its trial. Empty: none.", testid: "push-limit-p95", any: true },
  { key: "rss", label: "Memory growth limit, MiB", hint: "Of the agent, by this model. Empty: none.", testid: "push-limit-rss", any: true },
];
const GATES: readonly Row[] = [
  { key: "failedShare", label: "Failed, at most percent", hint: "Of the devices that settled.", testid: "push-gate-failures", any: true },
  { key: "p95Ratio", label: "p95 against before, at most", hint: "1.2: a fifth slower.", testid: "push-gate-p95-ratio", any: true },
  { key: "p95Gate", label: "p95, at most ms", hint: "Over a profile's devices.", testid: "push-gate-p95", any: true },
  { key: "rssGate", label: "Memory, at most MiB", hint: "Of the agent's process.", testid: "push-gate-rss", any: true },
  { key: "energyRatio", label: "Energy against before, at most", hint: "Of an inference.", testid: "push-gate-energy", any: true },
  { key: "agreement", label: "Same answers, at least percent", hint: "Needs shadow mode.", testid: "push-gate-agreement", any: true },
];
const TIMES: readonly Row[] = [
  { key: "waveSoak", label: "Watch each wave, minutes", hint: "Before the next one begins.", testid: "push-wave-soak", any: true },
  { key: "rate", label: "Devices told a minute", hint: "Empty: all at once.", testid: "push-rate" },
  { key: "timeout", label: "A stage has, minutes", hint: "Then it pauses, or goes on without whom it did not reach.", testid: "push-timeout", any: true },
  { key: "deadline", label: "Ends after, hours", hint: "Who was not reached by then is left out.", testid: "push-deadline", any: true },
  { key: "hours", label: "Tell devices only during", hint: "Such as 22:00-06:00.", testid: "push-hours", text: true },
  { key: "timezone", label: "Time zone of these hours", hint: "Such as Europe/Berlin.", testid: "push-timezone", text: true },
  { key: "shadow", label: "Shadow mode, seconds", hint: "The new model answers beside the old one first, unseen.", testid: "push-shadow" },
];

interface Props {
  policy: PolicyText;
  onChange: (policy: PolicyText) => void;
}
export function PolicyFields({ policy, onChange }: Props) {
  const problem = readPolicy(policy);
  return (
    <>
      <details class="more">
        <summary data-testid="push-policy">Safety: {policySummary(policy)}</summary>
        <div class="stack">
          <Rows rows={MAIN} policy={policy} onChange={onChange} />
          <details class="more">
            <summary data-testid="push-advanced">Advanced: gates, approval, times, shadow mode, downloads</summary>
            <Advanced policy={policy} onChange={onChange} />
          </details>
        </div>
      </details>
      {typeof problem === "string" && (
        <p class="problem" role="alert" data-testid="push-policy-problem">
          {problem}
        </p>
      )}
    </>
  );
}

function Advanced({ policy, onChange }: Props) {
  const set = (part: Partial<PolicyText>) => onChange({ ...policy, ...part });
  return (
    <div class="stack">
      <h3>Gates, on the devices that run it</h3>
      <Rows rows={GATES} policy={policy} onChange={onChange} />
      <div class="fields">
        <Field label="A missed gate, or too many failures">
          {(ids) => (
            <select
              {...ids}
              value={policy.onGate}
              onChange={(event) => set({ onGate: event.currentTarget.value as PolicyText["onGate"] })}
              data-testid="push-on-gate"
            >
              <option value="pause">pause it</option>
              <option value="rollback">roll all devices back</option>
            </select>
          )}
        </Field>
        <Field label="Differences to what runs">
          {(ids) => (
            <select
              {...ids}
              value={policy.delta}
              onChange={(event) => set({ delta: event.currentTarget.value as PolicyText["delta"] })}
              data-testid="push-delta"
            >
              <option value="prefer">where there are any</option>
              <option value="only">only; never whole artifacts</option>
              <option value="never">never; always whole artifacts</option>
            </select>
          )}
        </Field>
      </div>
      <h3>Times</h3>
      <Rows rows={TIMES} policy={policy} onChange={onChange} />
      <ul class="stack tight">
        {(
          [
            ["approveCanary", "Somebody approves before the canaries are told", "push-approve-canary"],
            ["approveWaves", "Somebody approves before each wave", "push-approve-waves"],
            ["lateJoiners", "Devices that fit later join", "push-late-joiners"],
          ] as const
        ).map(([key, label, testid]) => (
          <li key={key}>
            <label class="check">
              <input
                type="checkbox"
                checked={policy[key]}
                onChange={(event) => set({ [key]: event.currentTarget.checked })}
                data-testid={testid}
              />
              {label}
            </label>
          </li>
        ))}
      </ul>
      <h3>Downloads, beside the rules of the fleet</h3>
      <DeliveryFields
        text={policy.delivery}
        onChange={(delivery) => set({ delivery: same(delivery) ? NO_RULES : delivery })}
        prefix="push-delivery"
      />
    </div>
  );
}

const same = (delivery: PolicyText["delivery"]) => JSON.stringify(delivery) === JSON.stringify(NO_RULES);

function Rows({ rows, policy, onChange }: Props & { rows: readonly Row[] }) {
  return (
    <div class="fields">
      {rows.map(({ key, label, hint, testid, text, any }) => (
        <Field key={key} label={label} hint={hint}>
          {(ids) => (
            <input
              {...ids}
              {...(text ? { type: "text" as const } : { type: "number" as const, min: "0", step: any ? "any" : "1" })}
              value={policy[key]}
              onInput={(event) => onChange({ ...policy, [key]: event.currentTarget.value })}
              data-testid={testid}
            />
          )}
        </Field>
      ))}
    </div>
  );
}
