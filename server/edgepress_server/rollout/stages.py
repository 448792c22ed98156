"""The stages in which devices are told: canaries, waves, soak. Pure; rules at the head of `decide`."""

from __future__ import annotations

from typing import Final

from edgepress_server.rollout.facts import (
    UNDER_WAY,
    Action,
    Begin,
    GoTo,
    NextWave,
    Note,
    Promote,
    RolloutFacts,
    Settled,
    Tell,
    Unreach,
    Wait,
)
from edgepress_server.rollout.passing import LOOK_AGAIN_MS, hold_or_pass, judge_all, say, stop
from edgepress_server.rollout.timers import (
    MINUTE_MS,
    Room,
    earliest,
    moment,
    room,
    span,
    timed_out,
    times_out_at,
)
from edgepress_server.store.rollout_rows import stage_name

DELTAS_MS: Final = 120_000  # then the first devices get whole artifacts, where the policy allows them


def signed(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    """Until the first stage may begin."""
    if rollout.wave == 0 and rollout.count(wave=0) == 0:
        return [NextWave(1)]
    held = _may_begin(rollout, now_ms)
    if held is not None:
        return [held]
    return [Begin(f"{name(rollout)} begins"), GoTo("canary" if rollout.wave == 0 else "ramp")]


def canary(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    telling, held = _tell(rollout, now_ms, up_to=0)
    if telling:
        return telling
    promoted: list[Action] = []
    waits: list[str] = []
    for profile in dict.fromkeys(cell.profile for cell in rollout.cells if cell.wave == 0):
        wanted = rollout.policy.canaries(profile) or 1
        settled = rollout.count("committed", "failed", wave=0, profile=profile)
        committed = rollout.count("committed", profile=profile)
        at_it = rollout.count("waiting", *UNDER_WAY, wave=0, profile=profile, there=True)
        asleep = rollout.count("waiting", *UNDER_WAY, wave=0, profile=profile, there=False)
        others = rollout.count("waiting", profile=profile) - rollout.count("waiting", wave=0, profile=profile)
        others_there = rollout.count("waiting", profile=profile, there=True) - rollout.count(
            "waiting", wave=0, profile=profile, there=True
        )
        missing = wanted - settled - at_it
        if missing > 0 and others_there > 0:
            why = f"{_devices(asleep, 'canary', 'canaries')} of {profile} not there"
            why = why if asleep else f"a canary of {profile} fell away"
            promoted.append(Promote(profile, min(missing, others_there), why))
        elif at_it == 0 and asleep == 0 and committed == 0 and others > 0:
            promoted.append(Promote(profile, 1, f"no canary of {profile} has committed"))
        elif at_it > 0:
            waits.append(f"waits for {_devices(at_it, 'canary', 'canaries')} of {profile}")
        elif asleep > 0 and (committed == 0 or settled < wanted):
            if not timed_out(rollout, now_ms):
                waits.append(f"{_devices(asleep, 'canary', 'canaries')} of {profile} not reached yet")
            elif committed == 0:
                after = span(rollout.policy.stage_timeout_s or 0)
                said = f"no canary of {profile} was reached in {after}"
                return [GoTo("paused", said, "paused")]
    if promoted:
        return promoted
    if waits:
        return _watch(rollout, now_ms, "; ".join(waits), held)
    if rollout.settled_at is None:
        return [Settled()]
    return hold_or_pass(
        rollout,
        now_ms,
        stage="canaries",
        soak_until=None,
        passed=lambda: [NextWave(1, _passed(rollout)), GoTo("ramp")],
    )


def ramp(rollout: RolloutFacts, now_ms: int) -> list[Action]:  # noqa: PLR0911 - each return is one rule
    if rollout.begun_at is None:
        waits = _may_begin(rollout, now_ms)
        return [Begin(f"{name(rollout)} begins")] if waits is None else [waits]
    wave, last = rollout.wave, len(rollout.policy.waves)
    telling, held = _tell(rollout, now_ms, up_to=wave)
    if telling:
        return telling
    unsettled = rollout.count("waiting", *UNDER_WAY, up_to=wave)
    at_it = rollout.count("waiting", *UNDER_WAY, up_to=wave, there=True)
    asleep = unsettled - at_it
    if at_it > 0:
        return _watch(rollout, now_ms, f"waits for {_devices(at_it)} of {name(rollout)}", held)
    if asleep > 0:
        over = timed_out(rollout, now_ms)
        reached = rollout.count("committed", "failed", wave=wave) > 0
        # Canaries may have used up a small wave; a sleeper of an earlier stage holds this one up no more.
        reached = reached or rollout.count("waiting", *UNDER_WAY, wave=wave) == 0
        if wave == last and over:
            after = span(rollout.policy.stage_timeout_s or 0)
            return [Unreach(f"not reached in {after}", wave)]
        if wave == last or not (reached or (over and rollout.count("committed") > 0)):
            if over:
                return [GoTo("paused", f"{name(rollout)} reached nobody", "paused")]
            return _watch(rollout, now_ms, f"{_devices(asleep)} not reached yet", held)
    if rollout.count("failed") and not rollout.count("committed"):
        return [GoTo("paused", "no device committed; " + failures(rollout), "paused")]
    if rollout.settled_at is None:
        return [Settled()]
    soak_s = rollout.policy.waves[wave - 1].soak_s

    def passed() -> list[Action]:
        said = _passed(rollout)
        return [NextWave(wave + 1, said)] if wave < last else [Note("passed", said), GoTo("soak")]

    return hold_or_pass(
        rollout,
        now_ms,
        stage=name(rollout),
        soak_until=rollout.settled_at + soak_s * 1000 if soak_s else None,
        passed=passed,
    )


def soak(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    telling, held = _tell(rollout, now_ms, up_to=len(rollout.policy.waves))
    if telling:
        return telling  # late joiners
    ends = rollout.stage_since + rollout.policy.soak_s * 1000
    actions = hold_or_pass(
        rollout,
        now_ms,
        stage="the soak",
        soak_until=ends if rollout.policy.soak_s else None,
        passed=lambda: [GoTo("done", summary(rollout), "done")],
    )
    again = _look_again(held, now_ms)
    return [Wait(a.sentence, earliest(a.until, again)) if isinstance(a, Wait) else a for a in actions]


def done(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    """Late joiners of a rollout that is done are told, as its hours and rates allow; nothing else happens.

    It says of itself that it is done, and not what it waits for.
    """
    telling, held = _tell(rollout, now_ms, up_to=len(rollout.policy.waves))
    return telling if held is None else [Wait("", _look_again(held, now_ms))]


# --- parts of stages --------------------------------------------------------------------------------------


def name(rollout: RolloutFacts) -> str:
    return stage_name(rollout.wave, len(rollout.policy.waves))


def summary(rollout: RolloutFacts) -> str:
    counts = {state: rollout.count(state) for state in ("committed", "failed", "skipped", "unreached")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)


def failures(rollout: RolloutFacts) -> str:
    n = rollout.count("failed")
    shown = "; ".join(f"{device} {reason or 'failed'}" for device, reason in rollout.failed[:3])
    return f"{n} failed: {shown}" + (f"; and {n - 3} more" if n > 3 else "")


def _may_begin(rollout: RolloutFacts, now_ms: int) -> Wait | None:
    policy = rollout.policy
    if policy.approval_needed(rollout.wave) and rollout.wave not in rollout.approved:
        return Wait(f"{name(rollout)} waits for a person: edgepress rollout approve {rollout.id}")
    if policy.start_at_ms is not None and now_ms < policy.start_at_ms:
        return Wait(f"starts at {moment(policy.start_at_ms, policy)}", policy.start_at_ms)
    if rollout.deltas_pending and (policy.delta == "only" or now_ms - rollout.stage_since < DELTAS_MS):
        made = "a delta is" if rollout.deltas_pending == 1 else f"{rollout.deltas_pending} deltas are"
        return Wait(f"{made} being made", now_ms + 1000)
    return None


def _tell(rollout: RolloutFacts, now_ms: int, *, up_to: int) -> tuple[list[Action], Room | None]:
    """Tell whoever may be told now; else the limit that holds somebody up, if one does."""
    found = room(rollout, now_ms)
    waiting = rollout.count("waiting", up_to=up_to, enrolled=True, there=True if found.there_only else None)
    n = min(waiting, found.n)
    if n > 0:
        return [Tell(n, up_to, found.there_only)], None
    return [], found if waiting else None


def _look_again(held: Room | None, now_ms: int) -> int | None:
    """When the limit that holds somebody up may have room; None: nobody is held up."""
    return None if held is None else earliest(held.until, now_ms + MINUTE_MS)


def _watch(rollout: RolloutFacts, now_ms: int, sentence: str, held: Room | None) -> list[Action]:
    """The stage goes on; a gate that is missed stops it before its end."""
    judged = judge_all(rollout, complete=False)
    if judged.missed:
        return stop(rollout, f"{name(rollout)}: gate missed: {say(judged.missed)}")
    if held is not None:
        sentence = f"{sentence}; {held.why}"
    if timed_out(rollout, now_ms):
        after = span(rollout.policy.stage_timeout_s or 0)
        return [GoTo("paused", f"{name(rollout)} has not passed in {after}: {sentence}", "paused")]
    gates = rollout.policy.gates.asked and rollout.count("committed") > 0 and not rollout.overruled
    times_out = times_out_at(rollout)
    return [
        Wait(
            sentence,
            earliest(
                _look_again(held, now_ms),
                now_ms + LOOK_AGAIN_MS if gates else None,
                times_out,
            ),
        )
    ]


def _passed(rollout: RolloutFacts) -> str:
    told = rollout.count("committed", "failed", up_to=rollout.wave)
    said = f"{name(rollout)} passed: {rollout.count('committed', up_to=rollout.wave)} of {told} committed"
    asleep = rollout.count("waiting", *UNDER_WAY, up_to=rollout.wave)
    if asleep:
        said += f", {asleep} not reached yet"
    judged = judge_all(rollout, complete=True)
    if rollout.overruled:
        said += "; its gates were overruled"
    return said + "".join(f"; {verdict.profile}: {verdict.words}" for verdict in judged.kept[:6])


def _devices(n: int, one: str = "device", many: str = "devices") -> str:
    return f"{n} {one if n == 1 else many}"
