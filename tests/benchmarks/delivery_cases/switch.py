"""Models that take turns under 200 requests a second: what is not answered, and what a request waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2] / "agent"))

from request_load import Answer, RequestLoad
from serving_device import NAME, ServingDevice
from small_models import artifact

from delivery_cases.case import Options, Row
from edgepress_devices.protocol import Shadow

TITLE: Final = "Switch: the local HTTP server under load while models take turns, or one is tried in shadow"
RATE_S: Final = 200.0
SECONDS: Final = 10.0
BALLAST_BYTES: Final = 1_000_000
WHILE_IDLE: Final = "no switch"


def measure(options: Options) -> Iterator[Row]:
    first, second = artifact(2.0, ballast_bytes=BALLAST_BYTES), artifact(3.0, ballast_bytes=BALLAST_BYTES)
    runs: dict[str, tuple[list[Answer], int, int]] = {}
    for name, act in (
        (WHILE_IDLE, lambda device, load: 0),
        ("switching", lambda device, load: _switch(device, load, [second, first])),
        ("shadow", lambda device, load: _shadow(device, load, [second, first])),
    ):
        folder = options.folder / f"switch-{name.replace(' ', '-')}"
        runs[name] = _run(folder, [first, second], act)
    peer = runs[WHILE_IDLE][0]
    for name in ("switching", "shadow"):
        answers, switches, compared = runs[name]
        failed, lost = _failed(answers), _lost(answers)
        what = (
            f"{len(answers)} requests, {switches} switches"
            if name == "switching"
            else f"{compared} compared in shadow"
        )
        yield Row(
            case="switch",
            what=f"{RATE_S:.0f}/s, {what}",
            measured=_words(answers),
            peer=f"{WHILE_IDLE}: {_words(peer)}",
            target="0 failed and 0 lost",
            met=failed == lost == 0,
            numbers={
                "requests": len(answers),
                "switches": switches,
                "compared": compared,
                "failed": failed,
                "lost": lost,
                "p50_ms": _at(answers, 0.5),
                "p99_ms": _at(answers, 0.99),
                "peer_p50_ms": _at(peer, 0.5),
                "peer_p99_ms": _at(peer, 0.99),
            },
        )


def _run(
    folder: Path, models: list[bytes], act: Callable[[ServingDevice, RequestLoad], int]
) -> tuple[list[Answer], int, int]:
    """Both models lie in their slots when the load begins: what is measured is no download."""
    with ServingDevice(folder) as device:
        for data in (*models, models[0]):
            if device.want(data) != "committed":
                raise RuntimeError(f"the model was not installed: {device.installer.journal.record.reason}")
        before = device.switches
        load = RequestLoad(device.http.url, NAME, rate_s=RATE_S, seconds=SECONDS)
        compared = act(device, load)
        return load.answers(), device.switches - before, compared


def _switch(device: ServingDevice, load: RequestLoad, models: list[bytes]) -> int:
    """One after the other, without a rest: each is hashed, decoded, loaded, tried and switched to."""
    while load.runs:
        for data in models:
            device.want(data)
    return 0


def _shadow(device: ServingDevice, load: RequestLoad, models: list[bytes]) -> int:
    """The other model answers beside the one that runs for as long as the load lasts."""
    device.accept(models[0], Shadow(seconds=60, requests=10_000_000))
    device.work(lambda: not load.runs)
    trial = device.installer.trial
    device.accept(models[1])
    return trial.requests if trial else 0


def _failed(answers: list[Answer]) -> int:
    return sum(answer.status not in (None, 200) for answer in answers)


def _lost(answers: list[Answer]) -> int:
    return sum(answer.status is None for answer in answers)


def _words(answers: list[Answer]) -> str:
    latency = f"p50 {_at(answers, 0.5):.1f}, p99 {_at(answers, 0.99):.1f} ms"
    return f"{_failed(answers)} failed, {_lost(answers)} lost; {latency}"


def _at(answers: list[Answer], share: float) -> float:
    """Milliseconds: this quantile."""
    ordered = sorted(answer.ms for answer in answers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
