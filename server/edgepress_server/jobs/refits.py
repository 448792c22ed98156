"""The worker's part in calibrations: fits profiles anew in a child process, beside whatever else it does.

look --nothing is due--> rest LOOK_S
     --take (lease)----> child running --exit 0: it finished, and says so in the store----> look again
                                       --any other exit----------> interrupted: due again, or given up
                                       --longer than TIMEOUT_S---> SIGTERM, SIGKILL, interrupted
                                       --the server stops--------> SIGTERM, SIGKILL; the lease lapses

The child takes seconds of one core at low priority; the link and the web role never fit anything.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgepress_server.errors import ServerError
from edgepress_server.jobs.child_process import child_environment, end_child, exit_words, log_file
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.refits import Refit

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
TIMEOUT_S: Final = 600.0

StartRefitChild = Callable[[Settings, Refit], "subprocess.Popen[bytes]"]


def start_refit_child(settings: Settings, refit: Refit) -> subprocess.Popen[bytes]:
    """The process of `refit_child`; what it prints goes to DIR/log/calibrations/<profile>.log."""
    arguments = [str(settings.data_dir), refit.profile, refit.worker, str(refit.attempt)]
    with _log(settings, refit).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "edgepress_server.jobs.refit_child", *arguments],
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(threads=1),
        )


class Refitter:
    """Made once for a worker. ``tick`` never waits."""

    def __init__(
        self, settings: Settings, store: Store, worker: str, start: StartRefitChild = start_refit_child
    ) -> None:
        self._settings = settings
        self._store = store
        self._worker = worker
        self._start = start
        self._child: tuple[Refit, subprocess.Popen[bytes], float] | None = None
        self._look_due_s = 0.0

    def tick(self) -> None:
        """Look after the child, or for something to fit. Raises StoreError."""
        if self._child is not None:
            self._watch(*self._child)
        elif time.monotonic() >= self._look_due_s:
            self._look_due_s = time.monotonic() + LOOK_S
            refit = self._store.refits.take(self._worker)
            if refit is not None:
                self._begin(refit)

    def stop(self) -> None:
        """End the child; whoever comes next finds its work due again."""
        if self._child is not None:
            refit, process, _ = self._child
            self._child = None
            end_child(process)
            try:
                self._store.refits.give_back(refit)
            except ServerError as error:  # the lease lapses
                log.warning("the fit of %s could not be given back: %s", refit.profile, error.message)

    def _begin(self, refit: Refit) -> None:
        what = "is fitted" if refit.fit_due else f"{len(refit.predict)} artifacts are predicted"
        log.info("profile %s: %s, attempt %d", refit.profile, what, refit.attempt)
        try:
            self._child = (refit, self._start(self._settings, refit), time.monotonic() + TIMEOUT_S)
        except OSError as error:
            self._store.refits.interrupted(refit, f"Its process could not be started ({error}).")

    def _watch(self, refit: Refit, process: subprocess.Popen[bytes], until_s: float) -> None:
        late = time.monotonic() >= until_s
        if process.poll() is None and not late:
            return
        end_child(process)
        why = f"It took longer than {TIMEOUT_S:.0f} seconds." if late else self._why(process, refit)
        # A child that finished has given its lease back already, so for it this says nothing.
        self._store.refits.interrupted(refit, why)
        self._child = None
        self._look_due_s = 0.0

    def _why(self, process: subprocess.Popen[bytes], refit: Refit) -> str:
        return exit_words(process.returncode, _log(self._settings, refit))


def _log(settings: Settings, refit: Refit) -> Path:
    return log_file(settings.log_dir / "calibrations", refit.profile)
