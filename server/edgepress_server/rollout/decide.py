"""What a rollout does next, from plain values. The engine reads them, calls `decide`, acts, and calls again.

States of a rollout::

    draft -> signed -> canary -> ramp -> soak -> done
    draft .. soak --pause, or too many failures--> paused --resume--> where it was; devices that failed try
                                                                      again (a soak goes back to ramp)
    draft .. soak, paused --abort--> rolling_back -> aborted

Rules:

* signed: the release key's word covers the rollout's limits, so wants can be issued.
* canary: the chosen devices of each profile are told. It ends when all of them are settled and, for each
  profile, one has committed; while none has, the next device of that profile becomes a canary.
* ramp: everyone else is told. It ends when all are settled.
* soak: nothing new; a device that rolls back still counts as failed. After ``soak_s`` it is done.
* settled = committed, failed or skipped. More than ``max_failed`` failed: paused, with the reason.
* A device is committed only when its own report says so, for this digest and for the want of this rollout
  (its counter or a later one). Old reports, of earlier wants, say nothing.
* Offline is unreached, not failed: the rollout waits.
* A device that was revoked, or that a later rollout has taken over, is skipped unless it was settled before.
* rolling_back: devices that were told and have not committed get back what they were to run before.

States of a device in a rollout::

    waiting -> wanted -> fetching -> trial -> committed
    any of these -> failed | skipped         failed -> committed (it tried again by itself)
    committed -> failed (it rolled back)     failed --resume--> waiting
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgepress_devices.protocol import State
from edgepress_server.store.rollouts import DeviceState, Policy, RolloutState, Stage

SETTLED: Final = ("committed", "failed", "skipped")


@dataclass(frozen=True)
class DeviceFacts:
    device: str
    profile: str
    digest: str
    stage: Stage
    state: DeviceState
    reason: str = ""
    want_counter: int | None = None  # of the newest want that this rollout issued to it
    enrolled: bool = True
    revoked: bool = False
    superseded: bool = False  # a later rollout or a rollback decides what it is to run
    report: State | None = None


@dataclass(frozen=True)
class RolloutFacts:
    state: RolloutState
    policy: Policy
    stage_since: int  # Unix ms
    devices: Sequence[DeviceFacts]
    reason: str = ""


@dataclass(frozen=True)
class Mark:
    device: str
    state: DeviceState
    reason: str = ""


@dataclass(frozen=True)
class Promote:
    """The device becomes a canary."""

    device: str


@dataclass(frozen=True)
class Issue:
    """Tell the device to run its artifact of this release."""

    device: str


@dataclass(frozen=True)
class GiveBack:
    """Tell the device to run what it was to run before."""

    device: str


@dataclass(frozen=True)
class Sign:
    """Have the rollout's own statements signed, where its policy asks for limits; it is signed then."""


@dataclass(frozen=True)
class GoTo:
    state: RolloutState
    reason: str = ""


Action = Mark | Promote | Issue | GiveBack | Sign | GoTo


def decide(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    """What to do now; nothing when there is nothing to do but wait. Doing it twice changes nothing."""
    if rollout.state in ("done", "aborted"):
        return []
    if rollout.state == "draft":
        return [Sign()]
    marks: list[Action] = []
    devices: list[DeviceFacts] = []
    for device in rollout.devices:
        state, reason = observe(device)
        if (state, reason) == (device.state, device.reason):
            devices.append(device)
            continue
        marks.append(Mark(device.device, state, reason))
        devices.append(replace(device, state=state, reason=reason))
    return marks + _advance(replace(rollout, devices=devices), now_ms)


def observe(device: DeviceFacts) -> tuple[DeviceState, str]:
    """The device's state in the rollout and the reason, after what it last reported."""
    unchanged = (device.state, device.reason)
    settled = device.state in SETTLED
    if device.revoked:
        return unchanged if settled else ("skipped", "revoked")
    if device.superseded:
        return unchanged if settled else ("skipped", "another rollout took over")
    report = device.report
    told = device.want_counter is not None and device.state not in ("waiting", "skipped")
    if not told or report is None or report.want < (device.want_counter or 0):
        return unchanged
    return _reported(device, report)


def _reported(device: DeviceFacts, report: State) -> tuple[DeviceState, str]:
    unchanged = (device.state, device.reason)
    if report.step in ("rejected", "failed", "rolled_back"):
        words = report.step.replace("_", " ")
        return "failed", f"{words}: {report.reason}" if report.reason else words
    if report.step == "committed" and report.running == device.digest:
        return "committed", ""
    if device.state in SETTLED:
        return unchanged
    if report.step == "fetching":
        return "fetching", ""
    if report.step in ("verified", "staged", "trial"):
        return "trial", ""
    return unchanged


def _advance(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    if rollout.state == "rolling_back":
        return _roll_back(rollout)
    if rollout.state == "paused":
        return []
    failed = [d for d in rollout.devices if d.state == "failed"]
    if len(failed) > rollout.policy.max_failed:
        return [GoTo("paused", _failures(failed))]
    return _STAGES[rollout.state](rollout, now_ms)


def _signed(rollout: RolloutFacts, _now_ms: int) -> list[Action]:
    return [GoTo("canary" if any(d.stage == "canary" for d in rollout.devices) else "ramp")]


def _canary(rollout: RolloutFacts, _now_ms: int) -> list[Action]:
    canaries = [d for d in rollout.devices if d.stage == "canary"]
    actions: list[Action] = [*_issue(canaries)]
    waiting_for = False
    for profile in dict.fromkeys(d.profile for d in canaries):
        mine = [d for d in canaries if d.profile == profile]
        if not all(d.state in SETTLED for d in mine):
            waiting_for = True
        elif not any(d.state == "committed" for d in mine):
            others = [
                d
                for d in rollout.devices
                if d.profile == profile and d.stage == "ramp" and d.state == "waiting"
            ]
            if others:
                actions.append(Promote(others[0].device))
                waiting_for = True
    return actions if waiting_for else [*actions, GoTo("ramp")]


def _ramp(rollout: RolloutFacts, _now_ms: int) -> list[Action]:
    if not all(d.state in SETTLED for d in rollout.devices):
        return [*_issue(rollout.devices)]
    if any(d.state == "failed" for d in rollout.devices) and not any(
        d.state == "committed" for d in rollout.devices
    ):
        return [GoTo("paused", "no device committed; " + _failures(rollout.devices))]
    return [GoTo("soak")]


def _soak(rollout: RolloutFacts, now_ms: int) -> list[Action]:
    if now_ms - rollout.stage_since >= rollout.policy.soak_s * 1000:
        return [GoTo("done", _summary(rollout.devices))]
    return []


_STAGES: Final = {"signed": _signed, "canary": _canary, "ramp": _ramp, "soak": _soak}


def _roll_back(rollout: RolloutFacts) -> list[Action]:
    actions: list[Action] = []
    for device in rollout.devices:
        told = device.want_counter is not None and device.state not in ("committed", "skipped")
        if told and not device.revoked and not device.superseded:
            actions.append(GiveBack(device.device))
        if device.state not in SETTLED:
            actions.append(Mark(device.device, "skipped", "aborted before it was installed"))
    return [*actions, GoTo("aborted", rollout.reason)]


def _issue(devices: Iterable[DeviceFacts]) -> list[Issue]:
    return [Issue(d.device) for d in devices if d.state == "waiting" and d.enrolled]


def _failures(devices: Sequence[DeviceFacts]) -> str:
    failed = [d for d in devices if d.state == "failed"]
    shown = "; ".join(f"{d.device} {d.reason or 'failed'}" for d in failed[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"{len(failed)} failed: {shown}{more}"


def _summary(devices: Sequence[DeviceFacts]) -> str:
    counts = {state: sum(d.state == state for d in devices) for state in SETTLED}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n)
