"""One role in a process of its own: ``python -m edgepress_server.serve.role NAME [FD]``.

The first line on standard input is the settings as JSON (they may hold a password, which no process list is
to show); standard input then stays open as the lifeline. FD is the listening socket of the web role.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

from edgepress_server.errors import ServerError
from edgepress_server.serve import lifeline
from edgepress_server.settings import Settings, from_json

FAILED: Final = 1
REFUSED: Final = 78  # EX_CONFIG of sysexits.h: trying again changes nothing
SETTINGS_MAX_BYTES: Final = 65_536

log = logging.getLogger("edgepress")


def main() -> int:
    name = sys.argv[1]
    settings = from_json(_read_line())
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor's; it then ends the roles in order
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.set())
    try:
        return _ROLES[name](settings, stop)
    except ServerError as error:
        log.error("%s cannot go on: %s", name, error)
        return FAILED


def _read_line() -> bytes:
    """Byte by byte: nothing beyond the line may be taken from the lifeline."""
    line = bytearray()
    while len(line) < SETTINGS_MAX_BYTES and (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def _broker(settings: Settings, stop: threading.Event) -> int:
    from edgepress_server.broker.driver import driver
    from edgepress_server.store import open_store

    if settings.broker == "embedded":
        # The native broker never returns to Python, where a signal handler would run.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        lifeline.watch(lifeline.end_group)
    else:
        lifeline.watch(stop.set)  # mosquitto saves its retained messages at an orderly end
    return driver(settings).run(settings, open_store(settings.data_dir), stop)


def _link(settings: Settings, stop: threading.Event) -> int:
    from edgepress_server.broker.driver import driver
    from edgepress_server.link.link import Link
    from edgepress_server.store import open_store
    from edgepress_server.trust.keys import load_keys

    lifeline.watch(lifeline.end_group)
    broker = driver(settings).address(settings)
    # Batches are many objects without cycles: looking for some among them took longer than all the rest.
    gc.set_threshold(100_000, 20, 100)
    Link(open_store(settings.data_dir), load_keys(settings.keys_dir), broker, settings).run(stop)
    return 0


def _web(settings: Settings, _stop: threading.Event) -> int:
    from edgepress_server.serve.web import WebServer

    lifeline.watch(lifeline.end_group)
    WebServer(settings, int(sys.argv[2])).run()  # exits by SystemExit
    return 0


def _worker(settings: Settings, stop: threading.Event) -> int:
    from edgepress_server.ecosystem.otlp_push import pushing
    from edgepress_server.jobs import run_worker

    lifeline.watch(lifeline.end_group)
    with pushing(settings):
        run_worker(settings, stop)
    return 0


_ROLES: Final[dict[str, Callable[[Settings, threading.Event], int]]] = {
    "broker": _broker,
    "link": _link,
    "web": _web,
    "worker": _worker,
}

if __name__ == "__main__":
    sys.exit(main())
