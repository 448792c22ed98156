"""Ask the device's model about recorded inputs, at a steady rate: for load and soak tests and demonstrations.

It goes through the local HTTP address like any program on the device, so what telemetry then shows is real.
"""

import itertools
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgepress_agent.client import Client
from edgepress_agent.errors import AgentError, InferenceError
from edgepress_agent.runtime import Arrays

RECORDED_MAX_BYTES: Final = 1 << 30  # of arrays in memory; a board has little
MODEL_WAIT_SECONDS: Final = 0.5


class RecordedInputsError(AgentError):
    """The file of recorded inputs cannot be used."""


class NoAgentError(AgentError):
    """No agent answers on this device, or it went away."""


@dataclass
class Replayed:
    answered: int = 0
    failed: int = 0
    late: int = 0  # asked after its time, because the answers before took too long


def read_recorded(path: Path) -> list[Arrays]:
    """One feed per sample from an ``.npz`` of arrays by input name, samples along the first axis.

    Raises RecordedInputsError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > RECORDED_MAX_BYTES:
            raise RecordedInputsError(
                f"{path} holds {total} bytes of arrays, at most {RECORDED_MAX_BYTES} fit"
            )
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RecordedInputsError(f"{path} is no .npz file of plain arrays: {error}") from error
    counts = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise RecordedInputsError(
            f"{path} needs one array per model input, all with the same number of samples on the first axis"
        )
    return [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(counts.pop())]


def replay(
    client: Client,
    feeds: list[Arrays],
    *,
    rate_per_s: float,
    stopped: Callable[[float], bool],
    count: int | None,
) -> Iterator[Replayed]:
    """Ask about one feed after the other; the tally after each answer.

    ``stopped(seconds)`` waits that long and tells whether to end. A device without a model, or between two,
    is waited for. Raises InferenceError when the model refuses the input itself (400), ConnectionError
    without an agent.
    """
    tally = Replayed()
    due = time.monotonic()
    for tick in itertools.count():
        if count is not None and tally.answered >= count:
            return
        wait_s = due - time.monotonic()
        tally.late += wait_s < -1 / rate_per_s
        if stopped(max(0.0, wait_s)):
            return
        try:
            client.infer(feeds[tick % len(feeds)])
            tally.answered += 1
        except InferenceError as error:
            if error.status not in (404, 503):
                raise
            tally.failed += 1
            if stopped(MODEL_WAIT_SECONDS):
                return
        due = max(due + 1 / rate_per_s, time.monotonic() - 1)  # after a pause: no burst to catch up
        yield tally
