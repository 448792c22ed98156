"""Reads onnxruntime's own profile: a JSON list of events, one "Node" event for each kernel that ran.

    {"cat": "Node", "name": "conv1_kernel_time", "dur": 29, "args": {"op_name": "Conv", "node_index": "7"}}
    {"cat": "Session", "name": "model_run", "dur": 664, ...}       ends each inference

Durations are whole microseconds, so a kernel's time is the mean over many runs, never one reading. A kernel
that runs several times in an inference (in a loop's body) counts with the sum.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

PROFILE_MAX_BYTES: Final = 128 << 20
_SUFFIX: Final = "_kernel_time"
_NAME_MAX_CHARS: Final = 500  # of protocol.Text


class ProfileFileError(ValueError):
    """The runtime's profile is not what this file expects; the text says what is wrong."""


@dataclass
class KernelRuns:
    """One kernel: its node's name (``#index`` where it has none) and its time in each inference, in us."""

    name: str
    op_type: str
    runs_us: list[float] = field(default_factory=list)


class _Arguments(msgspec.Struct):
    op_name: str = ""
    node_index: str = ""


class _Event(msgspec.Struct):
    cat: str = ""
    name: str = ""
    dur: float = 0.0
    args: _Arguments | None = None


_decoder = msgspec.json.Decoder(list[_Event])


def read_kernel_profile(path: Path, *, warm_up_runs: int) -> list[KernelRuns]:
    """Kernels in the order of their first run, without the first ``warm_up_runs`` inferences.

    Raises ProfileFileError, OSError.
    """
    with path.open("rb") as file:
        data = file.read(PROFILE_MAX_BYTES + 1)
    if len(data) > PROFILE_MAX_BYTES:
        raise ProfileFileError(
            f"the runtime's profile is larger than {PROFILE_MAX_BYTES} bytes: run less at once"
        )
    return parse_kernel_profile(data, warm_up_runs=warm_up_runs)


def parse_kernel_profile(data: bytes, *, warm_up_runs: int) -> list[KernelRuns]:
    """As ``read_kernel_profile``, of the file's bytes."""
    try:
        events = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProfileFileError(f"the runtime's profile cannot be read: {str(error)[:200]}") from error
    kernels: dict[tuple[str, str], KernelRuns] = {}
    this_run: dict[tuple[str, str], float] = {}
    done = 0
    for event in events:
        if event.cat == "Node" and event.name.endswith(_SUFFIX) and event.args is not None:
            key = event.name, event.args.node_index
            this_run[key] = this_run.get(key, 0.0) + event.dur
            if key not in kernels:
                name = event.name.removesuffix(_SUFFIX) or f"#{event.args.node_index}"
                kernels[key] = KernelRuns(name[:_NAME_MAX_CHARS], event.args.op_name[:_NAME_MAX_CHARS])
        elif event.cat == "Session" and event.name == "model_run":
            if done >= warm_up_runs:
                for key, duration_us in this_run.items():
                    kernels[key].runs_us.append(max(0.0, duration_us))
            this_run.clear()
            done += 1
    return [kernel for kernel in kernels.values() if kernel.runs_us]
