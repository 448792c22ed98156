"""The file that keeps a search: nothing whole is lost, nothing is done twice, no two workers do the same."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.errors import SearchError
from edgepress_compression.search.log import FileLog
from edgepress_compression.search.trial import Figures, Trial


def propose(trials: Sequence[Trial]) -> Trial | None:
    return Trial(number=len(trials), recipe={"name": f"r{len(trials)}"}) if len(trials) < 5 else None


def done(trial: Trial, drop: float = 0.0) -> Trial:
    return msgspec.structs.replace(trial, state="done", figures=Figures(drop=drop, samples=10))


def claimed(log: FileLog) -> Trial:
    trial = log.claim(propose)
    assert trial is not None
    return trial


def test_what_was_finished_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        trial = claimed(log)
        log.finish(done(trial, 0.02), b"artifact")
    with FileLog(tmp_path) as log:
        (kept,) = log.trials()
        assert kept.state == "done" and kept.figures is not None and kept.figures.drop == 0.02
        assert kept.artifact is not None and log.artifact(kept.artifact) == b"artifact"
        assert log.artifact("0" * 64) is None


def test_two_workers_never_get_the_same_trial(tmp_path: Path) -> None:
    with FileLog(tmp_path) as one, FileLog(tmp_path) as other:
        numbers = [claimed(log).number for log in (one, other)]
        assert numbers == [0, 1]


def test_the_trial_of_a_worker_that_died_is_taken_over_first(tmp_path: Path) -> None:
    dead = FileLog(tmp_path)
    left = claimed(dead)
    with FileLog(tmp_path) as log:
        assert claimed(log).number == 1, "the other still lives"
        dead.close()
        log.finish(done(log.trials()[1]))
        taken = claimed(log)
        assert (taken.number, taken.recipe) == (left.number, left.recipe)


def test_a_worker_that_was_taken_for_dead_changes_nothing_any_more(tmp_path: Path) -> None:
    slow = FileLog(tmp_path)
    mine = claimed(slow)
    slow.close()
    with FileLog(tmp_path) as log:
        log.finish(done(claimed(log), 0.01))
        slow.finish(done(mine, 0.99))
        assert [one.figures.drop for one in log.trials() if one.figures] == [0.01]


def test_finishing_twice_changes_nothing(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        trial = claimed(log)
        log.finish(done(trial, 0.01))
        log.finish(done(trial, 0.5))
        assert [one.figures.drop for one in log.trials() if one.figures] == [0.01]


def test_nothing_left_to_try_is_none(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        for _ in range(5):
            log.finish(done(claimed(log)))
        assert log.claim(propose) is None


def test_the_folder_of_another_search_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        log.begin({"model": "a"})
        log.begin({"model": "a"})
        with pytest.raises(SearchError, match="holds another search"):
            log.begin({"model": "b"})


def test_a_log_goes_to_another_process_as_a_worker_of_its_own(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        claimed(log)
        with pickle.loads(pickle.dumps(log)) as other:
            assert other.worker != log.worker
            assert claimed(other).number == 1


def test_a_damaged_line_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_bytes(b"garbage\n")
    with FileLog(tmp_path) as log, pytest.raises(SearchError, match="begin in another folder"):
        log.trials()


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(0, 400))
def test_a_log_cut_off_anywhere_goes_on_from_its_whole_lines(tmp_path_factory, cut: int) -> None:  # type: ignore[no-untyped-def]
    folder: Path = tmp_path_factory.mktemp("log")
    with FileLog(folder) as log:
        for _ in range(2):
            log.finish(done(claimed(log)))
    path = folder / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    with FileLog(folder) as log:
        before = log.trials()
        for _ in range(5 - sum(one.state == "done" for one in before)):
            log.finish(done(claimed(log)))
        assert [(one.number, one.state) for one in log.trials()] == [(n, "done") for n in range(5)]
        assert all(line.endswith(b"}") for line in path.read_bytes().splitlines())
