"""Reasons why a board cannot tell something, logged once each."""

import logging
from typing import Final

log: Final = logging.getLogger("edgepress.sensors")

_said: set[str] = set()


def say_once(reason: str, key: str | None = None) -> None:
    """Log why something cannot be told, the first time only: sensors are read once a second, for months.

    ``key`` says what counts as the same reason where the text has a figure in it.
    """
    key = reason if key is None else key
    if key not in _said:
        _said.add(key)
        log.info(reason)
