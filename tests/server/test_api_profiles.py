"""Profiles of this installation: own ones and overrides, from the API down to what a job and a device get."""

from __future__ import annotations

import base64

import pytest
from profiling_story import calibration
from server_story import Browser

from edgepress_compression.search.budget import Budget
from edgepress_devices.profile import InvalidProfile, load_profile, shipped_ids, shipped_text
from edgepress_server.errors import NotFoundError
from edgepress_server.store import Store
from edgepress_server.store.calibrations import basis_of
from edgepress_server.store.models import ModelFacts

OWN = """
id = "pi-4-2gb"
name = "Raspberry Pi 4 Model B (2 GB)"
inherits = "raspberry-pi-4"

[memory]
ram_mib = 2048
basis = "datasheet"
source = "Raspberry Pi 4 Model B product brief: the 2 GB board"

[memory.usable]
mib = 1024
basis = "estimate"
source = "half of the memory"
"""
OVERRIDE = """
id = "raspberry-pi-4"
name = "Raspberry Pi 4 in our boxes"
inherits = "raspberry-pi-4"

[cpu]
threads = 2
basis = "estimate"
source = "the other two cores belong to the camera"
"""


def own(text: str, **changes: str) -> str:
    for old, new in changes.items():
        text = text.replace(f'"{old.replace("_", "-")}"', f'"{new}"')
    return text


MISTAKES = OWN.replace("ram_mib", "ram").replace('basis = "estimate"', "")
ORPHAN = own(OWN, raspberry_pi_4="rasberry-pi-4")
IMPOSTOR = own(OWN, pi_4_2gb="x86-pc")


def put(person: Browser, profile_id: str, text: str, status: int = 200) -> object:
    answer = person.client.put(f"/api/v1/profiles/{profile_id}", json={"toml": text}, headers=person.headers)
    assert answer.status_code == status, answer.text
    return answer.json


def test_shipped_profiles_are_there_from_the_start(viewer: Browser) -> None:
    found = viewer.get("/profiles")
    assert [profile["id"] for profile in found] == shipped_ids()
    assert {profile["origin"] for profile in found} == {"shipped"}
    pi = viewer.get("/profiles/raspberry-pi-4")
    assert (pi["inherits"], pi["updated_at"], pi["layout"]["preferred"]) == (None, None, "nchw")


def test_an_own_profile_is_stored_and_answers_with_what_it_inherits(operator: Browser, store: Store) -> None:
    answer = put(operator, "pi-4-2gb", OWN)
    assert operator.get("/profiles/pi-4-2gb") == {**answer, "toml": OWN}  # type: ignore[dict-item]
    assert (answer["origin"], answer["inherits"], answer["ram_mib"]) == ("own", "raspberry-pi-4", 2048)  # type: ignore[index]
    text = operator.client.get("/api/v1/profiles/pi-4-2gb?format=toml")
    assert (text.text, text.mimetype) == (OWN, "application/toml")
    assert "pi-4-2gb" in {profile["id"] for profile in operator.get("/profiles")}
    put(operator, "pi-4-2gb", OWN.replace("mib = 1024", "mib = 512"))
    assert store.profiles.resolve("pi-4-2gb").usable_mib == 512
    events = [(event.kind, event.subject, event.action, event.actor) for event in store.events.newest(2)]
    assert events == [
        ("profile", "pi-4-2gb", "changed", "operator"),
        ("profile", "pi-4-2gb", "added", "operator"),
    ]


def test_an_override_holds_until_it_is_deleted(operator: Browser, store: Store) -> None:
    shipped = load_profile("raspberry-pi-4")
    answer = put(operator, "raspberry-pi-4", OVERRIDE)
    assert (answer["origin"], answer["threads"]) == ("override", 2)  # type: ignore[index]
    assert store.profiles.resolve("raspberry-pi-4").compute == shipped.compute
    put(operator, "pi-4-2gb", OWN)
    assert store.profiles.resolve("pi-4-2gb").threads == 2, "what stands on it stands on the override"
    assert len(operator.get("/profiles")) == len(shipped_ids()) + 1

    operator.delete("/profiles/raspberry-pi-4", 204)
    assert store.profiles.resolve("raspberry-pi-4") == shipped
    assert store.profiles.resolve("pi-4-2gb").threads == 4
    assert operator.get("/profiles/raspberry-pi-4")["origin"] == "shipped"


@pytest.mark.parametrize(
    ("what", "profile_id", "text", "code", "says"),
    [
        ("another id", "pi-4-4gb", OWN, "profile_id", "pi-4-2gb"),
        ("a shipped id of another profile", "x86-pc", IMPOSTOR, "profile_shipped", "inherits"),
        ("several mistakes", "pi-4-2gb", MISTAKES, "profile_unusable", "2 things"),
        ("no TOML", "pi-4-2gb", "id = ", "profile_unusable", "not TOML"),
        ("an unknown parent", "pi-4-2gb", ORPHAN, "profile_unusable", "did you mean raspberry-pi-4"),
    ],
)
def test_what_is_no_profile_is_refused_and_changes_nothing(
    what: str, profile_id: str, text: str, code: str, says: str, operator: Browser, store: Store
) -> None:
    answer = put(operator, profile_id, text, 400)
    assert operator.refused(answer) == code, what
    assert says in answer["error"]["message"]  # type: ignore[index]
    assert store.profiles.list() == []


def test_validation_answers_all_problems_and_stores_nothing(viewer: Browser, store: Store) -> None:
    text = OWN.replace("ram_mib = 2048", "ram_gib = 2").replace("mib = 1024", "mib = 4000")
    found = viewer.post("/profiles/validate", {"toml": text})["problems"]
    assert [(problem["level"], problem["path"]) for problem in found] == [
        ("error", "memory.ram_gib"),
        ("warning", "memory.usable.mib"),
    ]
    assert found[0]["fix"] == "write ram_mib = 2048"
    assert viewer.post("/profiles/validate", {"toml": OWN}) == {"problems": []}
    assert store.profiles.list() == []


def test_only_operators_change_profiles(viewer: Browser, store: Store) -> None:
    put(viewer, "pi-4-2gb", OWN, 403)
    viewer.delete("/profiles/raspberry-pi-4", 403)
    assert store.profiles.list() == []


def test_text_longer_than_a_page_is_refused_unread(operator: Browser) -> None:
    put(operator, "pi-4-2gb", OWN + "#" * 70_000, 400)


def test_a_profile_in_use_stays_and_the_answer_says_who_uses_it(operator: Browser, store: Store) -> None:
    put(operator, "pi-4-2gb", OWN)
    operator.post("/devices", {"name": "kitchen", "profile": "pi-4-2gb"}, 201)
    answer = operator.delete("/profiles/pi-4-2gb", 409)
    assert operator.refused(answer) == "profile_in_use"
    assert "devices kitchen" in answer["error"]["message"]
    operator.patch("/devices/kitchen", {"profile": "raspberry-pi-4"})
    operator.delete("/profiles/pi-4-2gb", 204)
    with pytest.raises(NotFoundError):
        store.profiles.resolve("pi-4-2gb")


def test_a_profile_that_is_searched_for_or_watched_stays(operator: Browser, store: Store) -> None:
    put(operator, "pi-4-2gb", OWN)
    store.models.add("lenet", store.blobs.put(b"onnx"), ModelFacts(10, 8, 2, None, [], []), None, actor=None)
    search = store.searches.submit(
        model="lenet", profile="pi-4-2gb", dataset=None, budget={"latency_us": 9.0}, actor=None
    )
    store.budgets.put("lenet", "pi-4-2gb", Budget(latency_us=9.0))
    message = operator.delete("/profiles/pi-4-2gb", 409)["error"]["message"]
    assert f"searches {search.id}" in message and "budgets of lenet" in message
    store.searches.cancel(search.id, actor=None)
    store.budgets.clear("lenet", "pi-4-2gb")
    operator.delete("/profiles/pi-4-2gb", 204)


def test_a_shipped_profile_cannot_be_deleted(operator: Browser) -> None:
    assert operator.refused(operator.delete("/profiles/x86-pc", 409)) == "profile_shipped"
    assert operator.refused(operator.delete("/profiles/x86-pcs", 404)) == "profile_unknown"


def test_what_others_stand_on_neither_goes_nor_breaks_them(operator: Browser, store: Store) -> None:
    put(operator, "pi-4-2gb", OWN)
    child = own(OWN, pi_4_2gb="pi-4-1gb", raspberry_pi_4="pi-4-2gb")
    child = child.split("[memory.usable]")[0].replace("2048", "1024")
    put(operator, "pi-4-1gb", child)
    answer = operator.delete("/profiles/pi-4-2gb", 409)
    assert operator.refused(answer) == "profile_inherited" and "pi-4-1gb" in answer["error"]["message"]
    answer = put(operator, "pi-4-2gb", OWN.replace("mib = 1024", "mib = 1500"), 409)
    assert operator.refused(answer) == "profile_inherited", "1500 of the other's 1024 MiB"
    assert store.profiles.resolve("pi-4-2gb").usable_mib == 1024


def test_a_stored_profile_that_this_version_cannot_read_does_not_take_the_others_along(
    viewer: Browser, store: Store
) -> None:
    with store.transaction() as connection:
        connection.execute("INSERT INTO profiles VALUES ('old', 'id = \"old\"\nname = \"Old\"', 1, 1, NULL)")
    assert len(viewer.get("/profiles")) == len(shipped_ids())
    assert viewer.refused(viewer.get("/profiles/old", 400)) == "profile_unusable"
    assert "Old" in viewer.client.get("/api/v1/profiles/old?format=toml").text
    with pytest.raises(InvalidProfile):
        store.profiles.resolve("old")


def test_a_device_learns_the_figures_of_a_profile_that_no_agent_ships(
    operator: Browser, anyone: object, store: Store
) -> None:
    put(operator, "pi-4-2gb", OWN)
    key = base64.b64encode(bytes(32)).decode()
    told = {}
    for profile in ("pi-4-2gb", "raspberry-pi-4"):
        registered = operator.post("/devices", {"name": profile, "profile": profile}, 201)
        told[profile] = operator.post(
            "/enroll", {"code": registered["code"], "public_key": key, "agent_version": "0"}
        )["resolved_profile"]
    assert told["raspberry-pi-4"] is None, "the agent has it"
    assert told["pi-4-2gb"]["memory"]["ram_mib"] == 2048
    assert told["pi-4-2gb"]["cpu"]["threads"] == 4


def test_shipped_texts_are_answered_too(viewer: Browser) -> None:
    answer = viewer.client.get("/api/v1/profiles/x86-pc?format=toml")
    assert answer.text == shipped_text("x86-pc")


def test_a_profile_with_the_same_figures_goes_by_the_calibration_of_what_it_stands_on(
    operator: Browser, store: Store
) -> None:
    parent = store.profiles.resolve("raspberry-pi-4")
    store.calibrations.put(
        "raspberry-pi-4",
        calibration(),
        basis=basis_of(parent),
        reports=[],
        error_before=None,
        error_after=0.1,
        message="fitted",
        activate=True,
    )
    put(operator, "pi-4-kitchen", 'id = "pi-4-kitchen"\nname = "Kitchen"\ninherits = "raspberry-pi-4"\n')
    put(operator, "pi-4-2gb", OWN)
    assert store.profiles.resolve("pi-4-kitchen").calibration == calibration()
    assert store.profiles.resolve("pi-4-2gb").calibration is None, "it was fitted to other memory"
    assert "calibration" not in operator.get("/profiles/pi-4-kitchen")
