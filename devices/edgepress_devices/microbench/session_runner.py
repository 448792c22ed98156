"""One net in onnxruntime, as ``timing`` runs it: the session is passed in, so no runtime is imported."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgepress_devices.microbench.kernel_profile import KernelRuns, ProfileFileError, read_kernel_profile
from edgepress_devices.microbench.timing import CannotRunError


class SessionRunner:
    """``session``: an onnxruntime ``InferenceSession``; ``feeds``: its inputs by name, batch 1.

    ``profiled``: it was opened with ``enable_profiling``, so its profile runs until ``kernels`` is asked for.
    ``errors``: what the runtime raises. ``closing`` is called just before the net is given up.
    """

    def __init__(
        self,
        session: Any,
        feeds: Mapping[str, Any],
        *,
        profiled: bool,
        errors: tuple[type[Exception], ...] = (),
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self._session, self._feeds, self._profiling = session, dict(feeds), profiled
        self._errors, self._closing = errors, closing

    def run(self) -> float:
        """One inference, in microseconds. Raises CannotRunError."""
        began_ns = time.perf_counter_ns()
        try:
            self._session.run(None, self._feeds)
        except self._errors as error:
            raise CannotRunError(f"the runtime cannot run it: {str(error)[:300]}") from error
        return (time.perf_counter_ns() - began_ns) / 1000

    def kernels(self, warm_up_runs: int) -> list[KernelRuns]:
        """End the profile, read it and remove its file. Raises CannotRunError, OSError."""
        if not self._profiling:
            return []
        self._profiling = False
        path = Path(self._session.end_profiling())
        try:
            return read_kernel_profile(path, warm_up_runs=warm_up_runs)
        except ProfileFileError as error:
            raise CannotRunError(str(error)) from error
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        self._closing()
        if self._profiling:
            self._profiling = False
            Path(self._session.end_profiling()).unlink(missing_ok=True)
        self._session = None
