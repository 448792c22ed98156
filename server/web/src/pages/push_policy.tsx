// How carefully a rollout goes: canaries, failures, soak, limits.

import { plural } from "../text/format";
import { Field } from "../ui/field";

export interface PolicyText {
  canary: string;
  failed: string;
  soak: string;
  p95: string;
  rss: string;
}

export const FIRST_POLICY: PolicyText = { canary: "1", failed: "0", soak: "0", p95: "", rss: "" };

/** The policy as the API takes it: µs and bytes; an empty limit is none. */
export function readPolicy(text: PolicyText) {
  const whole = (value: string) => Math.max(0, Math.round(Number(value) || 0));
  const limits = {
    ...(Number(text.p95) > 0 ? { p95_us: Math.round(Number(text.p95) * 1000) } : {}),
    ...(Number(text.rss) > 0 ? { rss_bytes: Math.round(Number(text.rss) * 1024 * 1024) } : {}),
  };
  return {
    canary_per_profile: whole(text.canary),
    max_failed: whole(text.failed),
    soak_s: whole(text.soak),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
  };
}

const POLICY: readonly (readonly [keyof PolicyText, string, string, string])[] = [
  ["canary", "Canaries a profile", "Devices that try it first; 0 for all at once.", "push-canary"],
  ["failed", "Failures allowed", "One more pauses the rollout.", "push-max-failed"],
  ["soak", "Soak, seconds", "Watched this long at the end.", "push-soak"],
  ["p95", "p95 latency limit, ms", "On the device, in its trial. Empty: none.", "push-limit-p95"],
  ["rss", "Memory growth limit, MiB", "Of the agent, by this model. Empty: none.", "push-limit-rss"],
];

export function PolicyFields({ policy, onChange }: { policy: PolicyText; onChange: (policy: PolicyText) => void }) {
  return (
    <details class="more">
      <summary data-testid="push-policy">
        Safety: {policy.canary === "0" ? "no canary" : plural(Number(policy.canary) || 0, "canary", "canaries")} a
        profile first, then the others
      </summary>
      <div class="fields">
        {POLICY.map(([key, label, hint, testid]) => (
          <Field key={key} label={label} hint={hint}>
            {(ids) => (
              <input
                {...ids}
                type="number"
                min="0"
                step={key === "p95" ? "any" : "1"}
                value={policy[key]}
                onInput={(event) => onChange({ ...policy, [key]: event.currentTarget.value })}
                data-testid={testid}
              />
            )}
          </Field>
        ))}
      </div>
    </details>
  );
}
