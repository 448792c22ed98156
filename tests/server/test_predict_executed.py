"""What a runtime executes of a file is worked out once, kept, and never in anybody's way."""

import threading
from pathlib import Path

import pytest
from onnx_files import tiny_onnx

from edgepress_compression.errors import GraphError
from edgepress_devices.operator import Operator
from edgepress_server.errors import RateLimitedError
from edgepress_server.predict import executed, executed_child
from edgepress_server.predict.executed import ExecutedModels, NotPredictableError
from edgepress_server.predict.executed_model import ExecutedModel, decode, encode

FOUND = ExecutedModel(
    operators=[Operator(name="conv", op_type="Conv", dtype="fp32", flops=7)],
    weight_bytes=1,
    peak_activation_bytes=2,
)
LONG_S = 30.0


class Child:
    """In place of the process: counts who asks, and answers when it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, said: bytes | Exception) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.said = said
        monkeypatch.setattr(executed, "_ask_child", self.ask)

    def ask(self, kind: str, path: Path, layout: str) -> bytes:
        self.asked += 1
        assert self.may_answer.wait(LONG_S)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def ask(models: ExecutedModels, digest: str = "a", wait_s: float = LONG_S) -> ExecutedModel | None:
    return models.get("model", digest, Path("file"), "nchw", wait_s=wait_s)


def test_a_file_is_looked_into_once_even_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(monkeypatch, said=encode(FOUND))
    assert ask(ExecutedModels(tmp_path)) == FOUND
    assert ask(ExecutedModels(tmp_path)) == FOUND
    assert child.asked == 1


def test_who_asks_meanwhile_is_told_to_come_back_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(monkeypatch, said=encode(FOUND))
    child.may_answer.clear()
    models = ExecutedModels(tmp_path)
    assert ask(models, wait_s=0.0) is None and ask(models, wait_s=0.0) is None
    child.may_answer.set()
    assert ask(models) == FOUND and child.asked == 1


def test_a_kept_file_that_was_damaged_is_worked_out_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(monkeypatch, said=encode(FOUND))
    ask(ExecutedModels(tmp_path))
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert ask(ExecutedModels(tmp_path)) == FOUND and child.asked == 2
    assert decode(kept.read_bytes()) == FOUND


def test_a_failure_is_remembered_a_while_and_then_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(monkeypatch, said=NotPredictableError("It has no outputs."))
    models = ExecutedModels(tmp_path)
    for _ in range(2):
        with pytest.raises(NotPredictableError, match="no outputs"):
            ask(models)
    assert child.asked == 1
    monkeypatch.setattr(executed, "FAILURE_KEPT_S", -1.0)
    child.said = encode(FOUND)
    assert ask(models) == FOUND and child.asked == 2


def test_too_many_files_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(monkeypatch, said=encode(FOUND))
    child.may_answer.clear()
    models = ExecutedModels(tmp_path)
    for n in range(executed.WAITING_MAX):
        assert ask(models, str(n), wait_s=0.0) is None
    with pytest.raises(RateLimitedError):
        ask(models, "one more", wait_s=0.0)
    child.may_answer.set()
    assert ask(models, "0") == FOUND


def test_the_folder_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Child(monkeypatch, said=encode(FOUND))
    monkeypatch.setattr(executed, "KEPT_MAX", 3)
    for n in range(5):
        ask(ExecutedModels(tmp_path), str(n))
    assert len(list(tmp_path.iterdir())) == 3


CASES = [
    ("no model at all", b"hello", "no ONNX model"),
    ("an operator that nobody knows", tiny_onnx(operator="Frobnicate"), "Frobnicate"),
]


@pytest.mark.parametrize(("what", "data", "words"), CASES, ids=[case[0] for case in CASES])
def test_the_child_says_what_is_wrong(tmp_path: Path, what: str, data: bytes, words: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(NotPredictableError, match=words):
        ExecutedModels(tmp_path / "kept").get("model", "x", path, "nchw", wait_s=LONG_S)


def test_a_model_of_too_many_operators_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(tiny_onnx())
    monkeypatch.setattr(executed_child, "OPERATORS_MAX", 0)
    with pytest.raises(GraphError, match="at most 0 can be looked at"):
        executed_child.look("model", path, "nchw")


def test_a_child_that_is_killed_is_said_and_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o700)
    monkeypatch.setattr(executed.sys, "executable", str(killed))
    with pytest.raises(NotPredictableError, match="more memory"):
        ask(ExecutedModels(tmp_path / "kept"))


def test_a_model_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o700)
    monkeypatch.setattr(executed.sys, "executable", str(slow))
    monkeypatch.setattr(executed, "TIMEOUT_S", 0.2)
    with pytest.raises(NotPredictableError, match="given up"):
        ask(ExecutedModels(tmp_path / "kept"))
