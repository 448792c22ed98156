// The stages of a rollout in a row: past, here, to come.

import type { Rollout, RolloutState } from "../api/rollouts";
import { rolloutWord } from "../text/rollout";
import { span } from "../text/format";

interface Stage {
  key: string;
  label: string;
  aside: string;
}

function stages({ policy, state }: Rollout): Stage[] {
  const found: Stage[] = [{ key: "signed", label: state === "draft" ? "To be signed" : "Signed", aside: "" }];
  const canaries = policy.canary_per_profile > 0 || Object.values(policy.canary_profiles).some((n) => n > 0);
  if (canaries) {
    found.push({ key: "0", label: "Canaries", aside: policy.approve_canary ? "once approved" : `${policy.canary_per_profile} a profile` });
  }
  policy.waves.forEach((wave, i) => {
    const notes = [`${wave.percent} %`];
    if (wave.approve) notes.push("once approved");
    if (wave.soak_s > 0) notes.push(`then ${span(wave.soak_s * 1000)}`);
    found.push({ key: String(i + 1), label: policy.waves.length === 1 ? "Ramp" : `Wave ${i + 1}`, aside: notes.join(", ") });
  });
  if (policy.soak_s > 0) found.push({ key: "soak", label: "Soak", aside: span(policy.soak_s * 1000) });
  found.push({ key: "done", label: "Done", aside: "" });
  return found;
}

/** Where it is: a paused or aborted rollout stands where it stopped. */
function here(rollout: Rollout, state: RolloutState): string {
  switch (state) {
    case "draft":
    case "signed":
      return "signed";
    case "canary":
      return "0";
    case "ramp":
      return String(Math.max(1, rollout.wave));
    case "soak":
    case "done":
      return state;
    default:
      return rollout.resume_state ? here(rollout, rollout.resume_state) : String(rollout.wave);
  }
}

export function Stages({ rollout }: { rollout: Rollout }) {
  const all = stages(rollout);
  const at = here(rollout, rollout.state);
  const reached = all.findIndex((stage) => stage.key === at);
  const tone = rolloutWord(rollout).tone;
  return (
    <ol class="stages">
      {all.map(({ key, label, aside }, i) => (
        <li
          key={key}
          class={i < reached || rollout.state === "done" ? "past" : i === reached ? `here ${tone}` : ""}
          aria-current={i === reached ? "step" : undefined}
        >
          {label}
          {aside && <span class="sub">{aside}</span>}
        </li>
      ))}
    </ol>
  );
}
