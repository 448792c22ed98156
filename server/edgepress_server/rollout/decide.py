"""What a rollout does next, from plain values. The engine reads them, calls `decide`, acts, and calls again.

States of a rollout::

    draft -> signed -> canary -> ramp (waves 1, 2 ...) -> soak -> done
    signed .. soak --pause, too many failures, a gate missed or undecided for too long--> paused
    paused --resume--> where it was; devices that failed try again (a soak goes back to ramp)
    draft .. soak, paused --abort--> rolling_back -> aborted
    signed .. done --rollback, or a missed gate where the policy says so--> rolling_back -> aborted

Rules:

* draft: the release waits for its signature. signed: the first stage waits for a person or its time.
* canary: the chosen devices of each profile are told. It ends when as many as the policy asks for are settled
  and, for each profile, one has committed. A canary that is not there has another device promoted in its
  stead; so has a profile none of whose canaries committed.
* ramp: wave by wave, by percent of each profile, within rate, room and hours. A wave ends when nobody who is
  there is still at it and somebody of it has settled; the last one when everybody is.
* soak: nothing new (but late joiners); a device that rolls back still counts as failed. Then it is done.
* A stage passes when its soak is over and every gate is kept (`gates`). A missed gate stops the rollout at
  any moment; an undecided one waits, until the stage's timeout, which pauses it and says why.
* settled = committed, failed, skipped or unreached. More failed than allowed: paused, or rolled back.
* Offline is unreached, not failed: the rollout waits, until the stage's timeout or the deadline where there
  are any. At the deadline it ends: what was not reached is `unreached`, or all is given back where not even
  the canaries had passed.
* A release that is withdrawn pauses it.
* rolling_back: devices that were told and have not committed get back what they were to run before; after a
  rollback those that committed do so, too, by rollouts of their own that this one waits for.
* done: who joins late, where the policy says so, is told what the others were.

The parts: `devices` (one device), `stages`, `passing`, `gates`, `timers`, `ending`.
"""

from __future__ import annotations

from typing import Final

from edgepress_server.rollout import stages
from edgepress_server.rollout.ending import deadline, roll_back
from edgepress_server.rollout.facts import Action, GoTo, NextWave, RolloutFacts, Wait
from edgepress_server.rollout.passing import stop
from edgepress_server.rollout.timers import earliest

_STAGES: Final = {
    "signed": stages.signed,
    "canary": stages.canary,
    "ramp": stages.ramp,
    "soak": stages.soak,
}


def decide(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    """What to do now; only a `Wait`, or nothing, when there is nothing to do."""
    if rollout.state in ("aborted", "paused"):
        return []
    if rollout.state == "done":
        return stages.done(rollout, now_ms) if rollout.release == "signed" else []
    if rollout.state == "rolling_back":
        return roll_back(rollout)
    return _go_on(rollout, now_ms)


def _go_on(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    if rollout.release == "withdrawn":
        why = f": {rollout.withdrawn_reason}" if rollout.withdrawn_reason else ""
        return [GoTo("paused", f"release {rollout.release_id} was withdrawn{why}", "paused")]
    if rollout.state == "draft":
        return _draft(rollout)
    failed = rollout.count("failed")
    allowed = rollout.policy.failures_allowed
    if allowed is not None and failed > allowed:
        return stop(rollout, stages.failures(rollout))
    ends = rollout.policy.deadline_ms
    if ends is not None and now_ms >= ends:
        over = deadline(rollout)
        if over:
            return over
    actions = _STAGES[rollout.state](rollout, now_ms)
    return [_until(each, ends, now_ms) if isinstance(each, Wait) else each for each in actions]


def _draft(rollout: RolloutFacts) -> list[Action]:
    if rollout.release == "awaiting_signature":
        return [
            Wait(
                f"release {rollout.release_id} waits for the release key: edgepress keys export "
                f"{rollout.release_id}, sign where the key is, then edgepress keys import"
            )
        ]
    first: list[Action] = [] if rollout.count(wave=0) else [NextWave(1)]
    return [*first, GoTo("signed", what="signed")]


def _until(wait: Wait, ends: int | None, now_ms: int) -> Wait:
    if ends is None or ends <= now_ms:
        return wait
    return Wait(wait.sentence, earliest(wait.until, ends))
