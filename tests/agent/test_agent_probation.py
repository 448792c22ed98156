"""A model that took over is watched: crash loops and failing requests send the device back."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from power_cut import DyingDisk, PowerCut
from small_device import NEW, OLD, OTHER, Device, digest, wanting

from edgepress_agent import crash_loop
from edgepress_agent.crash_loop import (
    DEATHS_MAX,
    ERRORS_MIN_REQUESTS,
    PROBATION_MAX_S,
    PROBATION_REQUESTS,
    PROBATION_S,
    Probation,
    condemned,
    is_over,
    started,
    went_on,
)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """It ran OLD for long, and has just switched to NEW."""
    made = Device(tmp_path)
    made.follow(wanting(OLD, 1))
    made.follow(wanting(NEW, 2))
    return made


def _run(device: Device, seconds: float, answered: int = 0, failed: int = 0) -> None:
    """It runs on, with a look now and then, and answers requests."""
    before = device.engine.requests
    device.work()
    device.now_s += seconds
    device.engine.requests = before[0] + answered, before[1] + failed
    device.work()


def _die(device: Device) -> None:
    """The process is gone without a word, and is started again."""
    device.boot()


def _stop(device: Device) -> None:
    device.installer.journal.close()
    device.boot()


@pytest.mark.fault(
    "crash loop", "three deaths in a model's probation: back to the last good one, not tried again"
)
def test_a_crash_loop_goes_back_to_the_last_good_model(device: Device) -> None:
    for _ in range(DEATHS_MAX - 1):
        _die(device)
        assert device.engine.answers == NEW
    _die(device)
    assert device.engine.answers == OLD
    assert (device.step, device.reason) == (
        "rolled_back",
        "the agent died 3 times while it ran this model",
    )
    assert device.installer.journal.record.target == digest(NEW)
    device.follow(wanting(NEW, 2))
    _die(device)
    device.follow(wanting(NEW, 2))
    assert device.engine.answers == OLD, "it was tried again for the same want"
    device.follow(wanting(NEW, 3))
    assert device.engine.answers == NEW, "a newer want begins anew"


def test_orderly_stops_are_no_deaths(device: Device) -> None:
    for _ in range(2 * DEATHS_MAX):
        _stop(device)
    assert device.engine.answers == NEW


@pytest.mark.fault("power cut", "a reboot of the board is not held against the model")
def test_reboots_are_no_deaths(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2 * DEATHS_MAX):
        monkeypatch.setattr(crash_loop, "read_boot_id", lambda number=number: f"boot {number}")
        device.boot()
    assert device.engine.answers == NEW


def test_deaths_in_the_trial_of_the_next_model_are_the_next_model_s(device: Device) -> None:
    device.engine.deadly.add(OTHER)
    for _ in range(2):
        with pytest.raises(PowerCut):
            device.follow(wanting(OTHER, 3))
        _die(device)
    device.follow(wanting(OTHER, 3))
    assert (device.step, device.engine.answers) == ("rejected", NEW)
    probation = device.installer.journal.record.probation
    assert probation is not None and probation.deaths == 0


def test_after_its_probation_deaths_are_not_counted_any_more(device: Device) -> None:
    _run(device, PROBATION_S, answered=PROBATION_REQUESTS)
    assert device.installer.journal.record.probation is None
    for _ in range(2 * DEATHS_MAX):
        _die(device)
    assert device.engine.answers == NEW


def test_probation_goes_on_where_it_was_after_a_restart(device: Device) -> None:
    for _ in range(10):
        _run(device, PROBATION_S / 10, answered=PROBATION_REQUESTS // 10)
        _stop(device)
    assert device.installer.journal.record.probation is None


def test_without_requests_probation_lasts_longer_but_not_for_ever(device: Device) -> None:
    _run(device, PROBATION_S)
    assert device.installer.journal.record.probation is not None
    _run(device, PROBATION_MAX_S)
    assert device.installer.journal.record.probation is None


@pytest.mark.fault(
    "failing model", "more than half of 20 requests fail in probation: back, without a restart"
)
def test_a_model_that_fails_what_the_old_one_answered_is_gone_back_from_at_once(device: Device) -> None:
    _run(device, 1, answered=9, failed=11)
    assert device.engine.answers == OLD
    assert (device.step, device.reason) == (
        "rolled_back",
        "it failed 11 of 20 requests; the model before it did not",
    )
    assert device.installer.running is not None and device.installer.running.digest == digest(OLD)
    device.follow(wanting(NEW, 2))
    _die(device)
    assert device.engine.answers == OLD


def test_failures_that_the_old_model_had_too_are_not_held_against_the_new_one(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    device.engine.requests = (10, 30)
    device.follow(wanting(NEW, 2))
    _run(device, 1, answered=0, failed=40)
    assert device.engine.answers == NEW


def test_without_another_model_a_bad_one_is_better_than_none(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    _run(device, 1, answered=0, failed=40)
    assert device.engine.answers == OLD
    for _ in range(2 * DEATHS_MAX):
        _die(device)
    assert device.engine.answers == OLD


def test_cut_off_at_any_change_of_going_back_the_bad_model_is_never_run_again(tmp_path: Path) -> None:
    def failing(folder: Path) -> Device:
        device = Device(folder)
        device.follow(wanting(OLD, 1))
        device.follow(wanting(NEW, 2))
        return device

    counting = DyingDisk()
    device = failing(tmp_path / "counted")
    device.boot(counting)
    before = counting.count
    _run(device, 1, failed=40)
    assert device.engine.answers == OLD
    for at in range(before, counting.count):
        device = failing(tmp_path / str(at))
        with pytest.raises(PowerCut):
            device.boot(DyingDisk(at))
            _run(device, 1, failed=40)
        device.boot()
        if device.step != "rolled_back":  # it was cut off before that was decided
            _run(device, 1, failed=40)
        assert (device.engine.answers, device.step) == (OLD, "rolled_back"), f"cut at {at}"
        device.follow(wanting(NEW, 2))
        assert device.engine.answers == OLD, f"cut at {at}"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["die", "stop", "reboot", "busy"]),
            st.integers(0, 400),
            st.integers(0, 60),
        ),
        max_size=12,
    )
)
def test_only_deaths_count_and_only_within_probation(life: list[tuple[str, int, int]]) -> None:
    account, boot, deaths = Probation("a" * 64, boot="0", open=True), 0, 0
    for ends, seconds, answered in life:
        account = went_on(account, seconds=seconds, answered=answered, failed=0)
        if is_over(account):
            assert account.ran_s >= PROBATION_S and account.answered >= PROBATION_REQUESTS
            return
        if ends == "stop":
            account = Probation(**{**_fields(account), "open": False})
        boot += ends == "reboot"
        deaths += ends == "die"
        account = started(account, boot=str(boot), busy=ends == "busy")
        assert account.deaths == deaths
        assert (condemned(account) is not None) == (deaths >= DEATHS_MAX)


@given(st.integers(0, 60), st.integers(0, 60))
def test_requests_condemn_only_when_more_than_half_of_enough_failed(answered: int, failed: int) -> None:
    account = went_on(Probation("a" * 64), seconds=1, answered=answered, failed=failed)
    bad = answered + failed >= ERRORS_MIN_REQUESTS and failed > (answered + failed) / 2
    assert (condemned(account) is not None) == bad


def _fields(account: Probation) -> dict[str, object]:
    return {name: getattr(account, name) for name in account.__struct_fields__}
