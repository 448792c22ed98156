"""How a rollout ends otherwise than by passing: its deadline, abort and rollback. Pure."""

from __future__ import annotations

from edgepress_server.rollout.facts import (
    UNDER_WAY,
    Action,
    GiveBack,
    GoTo,
    RollBack,
    RolloutFacts,
    TakeBack,
    Unreach,
    Wait,
)

PASSED_CANARIES = ("ramp", "soak")


def deadline(rollout: RolloutFacts) -> list[Action]:
    """After its deadline: nobody new is waited for; who is at it may finish."""
    if rollout.state not in PASSED_CANARIES:
        return [RollBack("the deadline came before the canaries had passed")]
    not_there = rollout.count("waiting") + rollout.count(*UNDER_WAY, there=False)
    if not_there:
        return [Unreach("not reached before the deadline")]
    at_it = rollout.count(*UNDER_WAY)
    if at_it:
        return [Wait(f"the deadline is over; {at_it} at it may finish")]
    if rollout.state == "ramp" and rollout.begun_at is None:
        return [GoTo("soak", "the deadline is over")]
    return []  # the soak and the gates have their say, as always


def roll_back(rollout: RolloutFacts) -> list[Action]:
    """Every step is looked at anew, so that a server that was killed goes on where it was."""
    if rollout.give_back or rollout.count("waiting", *UNDER_WAY):
        return [GiveBack()]
    if rollout.rollback and rollout.take_back:
        return [TakeBack()]
    open_ones = [each for each in rollout.going_back if each[1] not in ("done", "aborted")]
    if rollout.rollback and open_ones:
        held = next((each for each in open_ones if each[1] == "paused"), None)
        if held is not None:
            return [Wait(f"rollout {held[0]}, which takes it back, is paused: {held[2]}")]
        ids = ", ".join(each[0] for each in open_ones[:3])
        return [Wait(f"devices go back to what they ran before: rollout {ids}")]
    if rollout.rollback:
        backs = "; ".join(f"rollout {each[0]}: {each[2] or each[1]}" for each in rollout.going_back[:3])
        said = f"{rollout.reason}; {backs}" if backs else rollout.reason
        return [GoTo("aborted", said, "rolled_back")]
    return [GoTo("aborted", rollout.reason, "aborted")]
