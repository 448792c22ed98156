"""Deliveries that end: each in a thread of its own, which nobody waits for longer than DELIVERY_S.

Time limits of sockets hold for each read. A receiver that answers a byte every few seconds stays below them
for a day, and all other notices would wait behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLongError
from typing import Final

from edgepress_server.alerts.channels.delivery import DeliveryError

DELIVERY_S: Final = 30.0


class Deliveries:
    """Of one thread, which sends. At most one delivery of each channel is under way."""

    def __init__(self) -> None:
        self._under_way: dict[str, threading.Thread] = {}

    def run(self, channel: str, deliver: Callable[[], str]) -> str:
        """What ``deliver`` returns or raises. Raises DeliveryError where that takes too long: the receiver
        may have taken it all the same, and gets it a second time with the same id.
        """
        before = self._under_way.get(channel)
        if before is not None and before.is_alive():
            raise DeliveryError("its receiver still holds on to the one before")
        outcome: Future[str] = Future()
        thread = threading.Thread(target=_settle, args=(outcome, deliver), name="alert-delivery", daemon=True)
        self._under_way[channel] = thread
        thread.start()
        try:
            return outcome.result(DELIVERY_S)
        except WaitedTooLongError as error:
            if outcome.done():
                raise  # its own
            raise DeliveryError(f"it took longer than {DELIVERY_S:g} s") from error


def _settle(outcome: Future[str], deliver: Callable[[], str]) -> None:
    try:
        outcome.set_result(deliver())
    except BaseException as error:  # noqa: BLE001 - raised where it is waited for
        outcome.set_exception(error)
