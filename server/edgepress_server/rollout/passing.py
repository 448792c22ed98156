"""Whether a stage whose devices are settled may pass: its soak, then the gates. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgepress_server.rollout.facts import Action, GoTo, RollBack, RolloutFacts, Wait
from edgepress_server.rollout.gates import Verdict, judge
from edgepress_server.rollout.timers import earliest, moment, span, timed_out, times_out_at

LOOK_AGAIN_MS = 10_000  # for telemetry that comes meanwhile


@dataclass(frozen=True)
class Judged:
    missed: Sequence[Verdict] = ()
    undecided: Sequence[Verdict] = ()
    kept: Sequence[Verdict] = ()


def judge_all(rollout: RolloutFacts, *, complete: bool) -> Judged:
    """What the gates say of every profile; nothing where none is asked for, or a person overruled them."""
    if not rollout.policy.gates.asked or rollout.overruled:
        return Judged()
    if rollout.count("committed", "failed") == 0:
        return Judged()
    verdicts = [
        verdict
        for profile in rollout.figures(complete)
        for verdict in judge(rollout.policy.gates, profile, complete=complete)
    ]
    return Judged(
        [v for v in verdicts if v.state == "missed"],
        [v for v in verdicts if v.state == "undecided"],
        [v for v in verdicts if v.state == "kept"],
    )


def stop(rollout: RolloutFacts, reason: str) -> list[Action]:
    """What the policy says happens when a gate is missed or too many failed."""
    if rollout.policy.on_gate == "rollback":
        return [RollBack(f"{reason}; rolled back as the policy says")]
    return [GoTo("paused", reason, "paused")]


def hold_or_pass(
    rollout: RolloutFacts,
    now_ms: int,
    *,
    stage: str,
    soak_until: int | None,
    passed: Callable[[], list[Action]],
) -> list[Action]:
    """``passed`` once the soak is over and every gate is kept; else what it waits for."""
    soaking = soak_until is not None and now_ms < soak_until
    judged = judge_all(rollout, complete=True)
    if judged.missed:
        return stop(rollout, f"{stage}: gate missed: {say(judged.missed)}")
    look_again = now_ms + LOOK_AGAIN_MS if rollout.policy.gates.asked and not rollout.overruled else None
    if soaking and soak_until is not None:
        until = moment(soak_until, rollout.policy)
        return [Wait(f"{stage} is watched until {until}", earliest(soak_until, look_again))]
    if not judged.undecided:
        return passed()
    said = say(judged.undecided)
    ends = rollout.policy.deadline_ms
    if timed_out(rollout, now_ms) or (ends is not None and now_ms >= ends):
        timeout_s = rollout.policy.stage_timeout_s
        after = f"after {span(timeout_s)}" if timeout_s is not None else "at the deadline"
        return [GoTo("paused", f"{stage}: undecided {after}: {said}", "paused")]
    return [Wait(f"{stage}: undecided: {said}", earliest(look_again, times_out_at(rollout)))]


def say(verdicts: Sequence[Verdict]) -> str:
    """``raspberry-pi-4: p95 ...; energy ...``, the first few."""
    shown = "; ".join(f"{v.profile}: {v.words}" for v in verdicts[:4])
    return shown + (f"; and {len(verdicts) - 4} more" if len(verdicts) > 4 else "")
