"""`edgepress-agent replay`: recorded inputs, at a rate, through the device's own door."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgepress_agent.client import Client
from edgepress_agent.errors import InferenceError
from edgepress_agent.replay import RecordedInputsError, read_recorded, replay


class Door:
    """Speaks the client's interface; answers what it is told to."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[float] = []

    def infer(self, feed: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(float(feed["x"][0, 0]))
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            raise InferenceError(status, "told to")
        return {}


def run(door: Door, feeds: list[Any], count: int) -> Any:
    tallies = list(replay(cast(Client, door), feeds, rate_per_s=1e9, stopped=lambda _: False, count=count))
    return tallies[-1]


def test_samples_are_asked_in_order_and_over_again(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, x=np.arange(6, dtype=np.float32).reshape(3, 2))
    door = Door()
    assert run(door, read_recorded(path), 4).answered == 4
    assert door.asked == [0.0, 2.0, 4.0, 0.0]


def test_a_device_between_two_models_is_waited_for() -> None:
    door = Door(503, 404, 200)
    tally = run(door, [{"x": np.zeros((1, 1))}], 1)
    assert (tally.answered, tally.failed) == (1, 2)


def test_an_input_that_the_model_refuses_is_not_asked_again_and_again() -> None:
    with pytest.raises(InferenceError):
        run(Door(400), [{"x": np.zeros((1, 1))}], 1)


@pytest.mark.parametrize("arrays", [{}, {"a": np.zeros(3), "b": np.zeros(2)}, {"a": np.zeros(())}])
def test_arrays_that_are_no_samples_are_refused_with_a_sentence(
    arrays: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **arrays)
    with pytest.raises(RecordedInputsError, match="one array per model input"):
        read_recorded(path)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(b"PK garbage")
    with pytest.raises(RecordedInputsError, match="is no"):
        read_recorded(path)
