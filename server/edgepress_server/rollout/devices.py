"""Where a device stands in a rollout, from what it last reported.

::

    waiting -> wanted -> fetching -> trial -> committed
    any of these -> failed | skipped | unreached     failed, unreached -> committed (it tried again by itself)
    committed -> failed (it rolled back)             failed --resume--> waiting
    unreached -> fetching ... (it came back after all; nobody waits for it)

* A device is committed only when its own report says so, for this digest and for the want of this rollout
  (its counter or a later one). Old reports, of earlier wants, say nothing.
* A device that was revoked, or that a later rollout has taken over, is skipped unless it was settled before.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepress_devices.protocol import State
from edgepress_server.rollout.facts import SETTLED
from edgepress_server.store.rollout_rows import DeviceState


@dataclass(frozen=True)
class DeviceFacts:
    device: str
    digest: str
    state: DeviceState
    reason: str = ""
    want_counter: int | None = None  # of the newest want that this rollout issued to it
    revoked: bool = False
    superseded: bool = False  # a later rollout or a rollback decides what it is to run
    report: State | None = None


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
    runs_it = report.running == device.digest
    # Who runs what it is to run may refuse a later order, such as one that had expired: that is no failure.
    refuses_another = report.step == "rejected" and device.state == "committed" and runs_it
    if report.step in ("rejected", "failed", "rolled_back") and not refuses_another:
        words = report.step.replace("_", " ")
        return "failed", f"{words}: {report.reason}" if report.reason else words
    if report.step == "committed" and runs_it:
        return "committed", ""
    if device.state in SETTLED and device.state != "unreached":
        return unchanged
    if report.step == "fetching":
        return "fetching", ""
    if report.step in ("verified", "staged", "trial"):
        return "trial", ""
    return unchanged
