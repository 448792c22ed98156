"""The runtime's profile: each kernel's time in each counted inference, and one clear error otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.microbench import kernel_profile
from edgepress_devices.microbench.kernel_profile import ProfileFileError, parse_kernel_profile


def kernel(name: str, op: str, duration_us: int, index: int = 0) -> dict[str, Any]:
    arguments = {"op_name": op, "node_index": str(index), "provider": "CPUExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": duration_us, "ph": "X", "args": arguments}


RUN = {"cat": "Session", "name": "model_run", "dur": 9, "args": {}}
LOADED = {"cat": "Session", "name": "session_initialization", "dur": 7350, "args": {}}


def test_warm_up_runs_do_not_count() -> None:
    events = [LOADED]
    for duration_us in (90, 10, 12):
        events += [kernel("conv", "Conv", duration_us), kernel("pool", "MaxPool", 2), RUN]
    conv, pool = parse_kernel_profile(json.dumps(events).encode(), warm_up_runs=1)
    assert (conv.name, conv.op_type, conv.runs_us) == ("conv", "Conv", [10, 12])
    assert pool.runs_us == [2, 2]


def test_a_kernel_in_a_loop_counts_with_the_sum_of_an_inference() -> None:
    events = [kernel("body", "MatMul", 3), kernel("body", "MatMul", 4), RUN]
    [body] = parse_kernel_profile(json.dumps(events).encode(), warm_up_runs=0)
    assert body.runs_us == [7]


def test_nodes_without_a_name_are_told_apart_by_their_number() -> None:
    events = [kernel("", "Conv", 3, 4), kernel("", "Conv", 5, 9), RUN]
    names = [k.name for k in parse_kernel_profile(json.dumps(events).encode(), warm_up_runs=0)]
    assert names == ["#4", "#9"]


def test_an_inference_that_did_not_end_does_not_count() -> None:
    events = [kernel("conv", "Conv", 3), RUN, kernel("conv", "Conv", 300)]
    [conv] = parse_kernel_profile(json.dumps(events).encode(), warm_up_runs=0)
    assert conv.runs_us == [3]


@pytest.mark.parametrize("data", [b"", b"[", b"{}", b'[{"dur": "x"}]', b"\xff", b"[" * 100_000])
def test_what_is_no_profile_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(ProfileFileError, match="cannot be read"):
        parse_kernel_profile(data, warm_up_runs=0)


@given(st.binary(max_size=200))
def test_any_bytes_are_kernels_or_the_error(data: bytes) -> None:
    try:
        parse_kernel_profile(data, warm_up_runs=0)
    except ProfileFileError:
        pass


def test_a_file_that_is_too_large_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_profile, "PROFILE_MAX_BYTES", 64)
    path = tmp_path / "profile.json"
    path.write_bytes(b"[" + b" " * 70 + b"]")
    with pytest.raises(ProfileFileError, match="run less at once"):
        kernel_profile.read_kernel_profile(path, warm_up_runs=0)
