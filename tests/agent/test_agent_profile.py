"""Which figures an agent goes by: the server's own, else those it ships, else what its board says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgepress_agent.enrolment import Enrolment, Mqtt
from edgepress_devices.profile import load_profile


def enrolment(profile: str, resolved: dict[str, Any] | None) -> Enrolment:
    made = Enrolment("kitchen", profile, "https://hub", Mqtt("hub", 1883), 1, resolved)
    return msgspec.json.decode(msgspec.json.encode(made), type=Enrolment)


def figures(profile: str, threads: int) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(load_profile(profile))
    found["cpu"]["threads"] = threads
    return found


@pytest.mark.parametrize(
    ("what", "profile", "resolved", "threads"),
    [
        ("the server's own profile", "our-board", {**figures("x86-pc", 3), "id": "our-board"}, 3),
        ("an override of a shipped one", "raspberry-pi-4", figures("raspberry-pi-4", 2), 2),
        ("a shipped one", "raspberry-pi-4", None, 4),
        ("figures of another version", "raspberry-pi-4", {"id": "raspberry-pi-4", "unheard_of": 1}, 4),
        ("figures of another version of an own one", "our-board", {"unheard_of": 1}, None),
        ("one that nobody told of", "our-board", None, None),
    ],
)
def test_the_figures_an_agent_goes_by(
    what: str, profile: str, resolved: dict[str, Any] | None, threads: int | None
) -> None:
    found = enrolment(profile, resolved).device_profile()
    assert (None if found is None else found.threads) == threads, what


def test_an_enrolment_of_before_is_read() -> None:
    old = msgspec.to_builtins(enrolment("x86-pc", None))
    del old["resolved_profile"]
    assert msgspec.convert(old, Enrolment).device_profile() == load_profile("x86-pc")
