"""Models are switched under load: every request is answered, whatever becomes of the model it began on."""

from pathlib import Path

import numpy as np
import pytest
from request_load import Answer, RequestLoad
from serving_device import NAME, ServingDevice
from small_models import artifact

from edgepress_devices.protocol import Shadow

pytestmark = pytest.mark.e2e

RATE_S = 200.0
FIRST, SECOND = artifact(2.0, ballast_bytes=200_000), artifact(3.0, ballast_bytes=200_000)


def _not_answered(answers: list[Answer], status: int = 200) -> list[Answer]:
    return [answer for answer in answers if answer.status != status]


@pytest.mark.fault("switch under load", "200 requests/s, models back and forth: none failed, none lost")
def test_switching_back_and_forth_fails_and_loses_no_request(tmp_path: Path) -> None:
    with ServingDevice(tmp_path) as device:
        assert device.want(FIRST) == "committed"
        load = RequestLoad(device.http.url, NAME, rate_s=RATE_S, seconds=4.0)
        wanted = SECOND
        while load.runs:
            assert device.want(wanted) == "committed"
            wanted = FIRST if wanted is SECOND else SECOND
        answers = load.answers()
    assert len(answers) == 800
    assert device.switches > 4, "it never switched under this load"
    assert _not_answered(answers) == []


@pytest.mark.fault("switch under load", "200 requests/s, a failing model is gone back from: none lost")
def test_rolling_back_a_failing_model_loses_no_request(tmp_path: Path) -> None:
    with ServingDevice(tmp_path) as device:
        assert device.want(FIRST) == "committed"
        assert device.want(SECOND) == "committed"
        new = device.runtime.model()
        assert new is not None
        device.look()
        load = RequestLoad(device.http.url, NAME, rate_s=RATE_S, seconds=2.0)
        with new.meter.lock:
            new.meter.errors_ever += 10_000  # as if so many had failed
        device.look()
        assert device.installer.journal.record.step == "rolled_back"
        answers = load.answers()
        model = device.runtime.model()
        assert model is not None and float(model.infer({"x": np.ones((1, 4), np.float32)})["y"][0, 0]) == 2.0
    assert _not_answered(answers) == []


@pytest.mark.fault("switch under load", "200 requests/s beside a shadow trial: none failed, none lost")
def test_a_shadow_trial_fails_and_loses_no_request(tmp_path: Path) -> None:
    with ServingDevice(tmp_path) as device:
        assert device.want(FIRST) == "committed"
        load = RequestLoad(device.http.url, NAME, rate_s=RATE_S, seconds=4.0)
        assert (
            device.want(SECOND, Shadow(seconds=60, requests=50, min_agreement_ppm=1_000_000)) == "committed"
        )
        answers = load.answers()
    assert _not_answered(answers) == []
    trial = device.installer.trial
    assert trial is not None and trial.requests == trial.agreed == 50


def test_stopping_the_model_answers_what_began_and_says_so_to_the_rest(tmp_path: Path) -> None:
    with ServingDevice(tmp_path) as device:
        assert device.want(FIRST) == "committed"
        load = RequestLoad(device.http.url, NAME, rate_s=RATE_S, seconds=3.0)
        device.want(None)
        device.want(SECOND)
        answers = load.answers()
    assert [answer for answer in answers if answer.status not in (200, 503)] == []
    assert answers[-1].status == 200
