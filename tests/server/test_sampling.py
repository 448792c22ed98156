"""Sampled inputs on the server: who may be sampled, what is kept and for how long, and who looked at it."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fleet_story import Fleet
from numpy.typing import NDArray
from server_story import START_MS, Browser, Clock

from edgepress_devices.protocol import InputSample, Sampling, TelemetryBatch
from edgepress_server.cli import sampling as sampling_module
from edgepress_server.cli.client import ApiFailure
from edgepress_server.cli.main import edgepress
from edgepress_server.errors import StoreError
from edgepress_server.store import Store, sampled_inputs
from edgepress_server.store.sampled_inputs import KEPT_MS
from edgepress_server.store.telemetry import Received

PICTURE = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("pi", "pc", labels={"site": "hall-3"})
    return made


@pytest.fixture
def digest(fleet: Fleet) -> str:
    return fleet.artifact("the artifact")


def sample(digest: str, array: NDArray[Any] = PICTURE, **more: Any) -> InputSample:
    said = {
        "at_ms": START_MS,
        "artifact": digest,
        "why": "random",
        "name": "x",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": zlib.compress(array.tobytes()),
        "label": 3,
        "confidence": 0.75,
    }
    return InputSample(**{**said, **more})


def allow(fleet: Fleet, whose: str = "fleet", per_hour: int = 10, low: int = 0) -> None:
    fleet.store.sampling.set(whose, Sampling(per_hour, low), actor=None)


def kept(fleet: Fleet, device: str = "pi") -> list[str]:
    return [one.id for one in fleet.store.sampled_inputs.list(device, limit=2000)]


# --- who may be sampled -----------------------------------------------------------------------------------


def test_by_default_nobody_and_the_most_specific_word_counts(fleet: Fleet) -> None:
    policies = fleet.store.sampling
    assert policies.of("pi") == Sampling()
    allow(fleet, "fleet", 5)
    assert policies.of("pi").per_hour == policies.of("pc").per_hour == 5
    fleet.store.groups.put("hall", 'site = "hall-3"')
    fleet.store.groups.put("boards", "name = pi")
    allow(fleet, "group/hall", 20, 60)
    allow(fleet, "group/boards", 30, 40)
    assert policies.of("pi") == Sampling(20, 40)  # the strictest of its groups
    assert policies.of("pc") == Sampling(20, 60)
    allow(fleet, "device/pi", 0)
    assert policies.of("pi") == Sampling()
    policies.clear("device/pi", actor=None)
    assert policies.of("pi") == Sampling(20, 40)


def test_the_policy_reaches_the_device_in_its_signed_want(fleet: Fleet) -> None:
    digest = fleet.artifact("model")
    fleet.roll_out(fleet.release(digest))
    fleet.settle()
    device = next(one for one in fleet.devices.values() if fleet.store.wants.find(one.name))  # the canary
    assert device.read_want().want.sampling == Sampling()
    device.commit()
    fleet.settle()
    allow(fleet, "fleet", 7, 50)
    fleet.engine.refresh()
    assert device.read_want().want.sampling == Sampling(7, 50)
    allow(fleet, f"device/{device.name}", 0)
    fleet.engine.refresh()
    newest = device.read_want().want
    assert newest.sampling == Sampling() and newest.digest == digest  # and it runs on as before


# --- what is kept -----------------------------------------------------------------------------------------


def test_an_input_comes_back_as_it_was_and_counts_once(fleet: Fleet, digest: str) -> None:
    allow(fleet)
    batch = TelemetryBatch(1, "e", 1, [], inputs=[sample(digest)])
    for _ in range(2):
        fleet.store.telemetry.store([Received("pi", START_MS, batch)])
    (found,) = fleet.store.sampled_inputs.list("pi")
    assert (found.device, found.artifact, found.label, found.confidence) == ("pi", digest, 3, 0.75)
    array = fleet.store.sampled_inputs.array(found.id)
    assert array.dtype == PICTURE.dtype and np.array_equal(array, PICTURE)


@pytest.mark.attack(
    "input without leave", "one that no policy allows leaves no trace, not in quarantine either"
)
def test_what_no_policy_allows_is_not_kept_anywhere(fleet: Fleet, digest: str) -> None:
    allow(fleet, "device/pc")
    fleet.store.telemetry.store(
        [Received("pi", START_MS, TelemetryBatch(1, "e", 1, [], inputs=[sample(digest)]))]
    )
    assert kept(fleet) == []
    assert fleet.store.database.rows("SELECT * FROM quarantine") == []
    fleet.store.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert sample(digest).data not in fleet.store.database.path.read_bytes()


@pytest.mark.parametrize(
    ("what", "changes", "reason"),
    [
        ("another shape", {"shape": [1, 3, 2, 3]}, "does not unpack"),
        ("no zlib", {"data": b"not zlib at all"}, "does not unpack"),
        ("cut off", {"data": zlib.compress(PICTURE.tobytes())[:-6]}, "does not unpack"),
        ("a bomb", {"data": zlib.compress(b"\0" * 20_000_000)}, "does not unpack"),
        ("huge", {"shape": [1 << 40]}, "at most"),
        ("huge by many sides", {"shape": [2**50] * 8}, "at most"),
        ("a type nobody has", {"dtype": "object"}, "no model takes"),
        ("a type with a size", {"dtype": "S100"}, "no model takes"),
        ("a reason nobody has", {"why": "curiosity"}, "none of"),
        ("of an artifact nobody made", {"artifact": "0" * 64}, "not known"),
    ],
)
@pytest.mark.attack("malformed input", "goes to quarantine with its reason and without its data")
def test_bad_inputs_are_refused_before_they_are_unpacked(
    fleet: Fleet, digest: str, what: str, changes: dict[str, Any], reason: str
) -> None:
    allow(fleet)
    batch = TelemetryBatch(1, "e", 1, [], inputs=[sample(digest, **changes)])
    assert fleet.store.telemetry.store([Received("pi", START_MS, batch)]) == {("pi", "e"): 1}
    assert kept(fleet) == []
    (row,) = fleet.store.database.rows("SELECT reason, payload FROM quarantine")
    assert reason in row["reason"] and row["payload"] == b""


def test_no_device_keeps_more_than_its_share_the_oldest_go(
    fleet: Fleet, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(fleet)
    monkeypatch.setattr(sampled_inputs, "PER_DEVICE_MAX", 5)
    for n in range(9):
        fleet.store.sampled_inputs.receive("pi", START_MS + n, sample(digest))
        fleet.store.sampled_inputs.receive("pc", START_MS + n, sample(digest)) if n < 3 else None
    assert [one.received_at - START_MS for one in fleet.store.sampled_inputs.list("pi")] == [8, 7, 6, 5, 4]
    assert len(kept(fleet, "pc")) == 3


def test_after_a_week_they_are_gone_from_the_file(fleet: Fleet, digest: str) -> None:
    allow(fleet)
    noise = np.random.default_rng(0).random((1, 3, 20, 20), np.float32)
    secret = sample(digest, noise)
    fleet.store.sampled_inputs.receive("pi", fleet.clock(), secret)
    path, checkpoint = fleet.store.database.path, "PRAGMA wal_checkpoint(TRUNCATE)"
    fleet.store.database.rows(checkpoint)
    part = secret.data[1000:1040]
    assert part in path.read_bytes()
    fleet.clock.forward(KEPT_MS)
    assert fleet.store.sampled_inputs.prune() == 0
    fleet.clock.forward(1)
    assert fleet.store.sampled_inputs.prune() == 1
    fleet.store.database.rows(checkpoint)
    assert kept(fleet) == [] and part not in path.read_bytes()


def test_all_together_have_a_limit(fleet: Fleet, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(fleet)
    size = len(sample(digest).data)
    for n in range(10):
        fleet.store.sampled_inputs.receive("pi" if n % 2 else "pc", START_MS + n, sample(digest))
    monkeypatch.setattr(sampled_inputs, "BYTES_MAX", 4 * size)
    assert fleet.store.sampled_inputs.prune() == 6
    assert [one.received_at - START_MS for one in fleet.store.sampled_inputs.list()] == [9, 8, 7, 6]
    assert fleet.store.sampled_inputs.prune() == 0


@pytest.mark.fault("flipped bits in a sampled input", "it is said that it is damaged; the list goes on")
def test_a_damaged_one_says_so(fleet: Fleet, digest: str) -> None:
    allow(fleet)
    fleet.store.sampled_inputs.receive("pi", START_MS, sample(digest))
    with fleet.store.transaction() as connection:
        connection.execute("UPDATE sampled_inputs SET data = x'00ff'")
    (found,) = fleet.store.sampled_inputs.list()
    with pytest.raises(StoreError, match="unpacked"):
        fleet.store.sampled_inputs.array(found.id)


# --- who looks --------------------------------------------------------------------------------------------


def test_only_admins_open_and_only_operators_look_and_it_is_all_in_the_log(
    fleet: Fleet, digest: str, viewer: Browser, operator: Browser, admin: Browser
) -> None:
    policy = {"per_hour": 10, "low_confidence_percent": 60}
    for path in ("/sampling", "/devices/pi/sampling"):
        assert put(operator, path, policy, 403)["error"]["code"] == "role"
    assert put(admin, "/devices/pi/sampling", policy)["subject"] == "device/pi"
    assert viewer.get("/devices/pi/sampling")["counts"] == policy
    assert [one["subject"] for one in viewer.get("/sampling")] == ["device/pi"]
    fleet.store.sampled_inputs.receive("pi", START_MS, sample(digest))
    (listed,) = viewer.get("/devices/pi/inputs")
    assert viewer.get("/inputs") == [listed] and "values" not in listed
    viewer.get(f"/inputs/{listed['id']}", status=403)
    seen = operator.get(f"/inputs/{listed['id']}?format=json")
    assert seen["values"] == PICTURE.reshape(-1).tolist() and seen["shape"] == [1, 3, 2, 2]
    file = operator.client.get(f"/api/v1/inputs/{listed['id']}")
    with np.load(io.BytesIO(file.data)) as arrays:
        assert np.array_equal(arrays["x"], PICTURE)
    viewer.delete(f"/inputs/{listed['id']}", status=403)
    operator.delete(f"/inputs/{listed['id']}", status=204)
    assert viewer.get("/inputs") == []
    log = [(entry.action, entry.subject, entry.actor) for entry in fleet.store.audit.oldest_first()]
    looked = ("look_at_input", f"pi {listed['id']}", "operator")
    assert log.count(looked) == 2
    assert ("set_device_sampling", "pi", "admin") in log
    assert ("delete_input", listed["id"], "operator") in log
    row = next(one for one in fleet.store.audit.oldest_first() if one.action == "set_device_sampling")
    assert row.data["sent"] == policy


def test_an_input_named_file_and_one_that_is_no_number(fleet: Fleet, digest: str, operator: Browser) -> None:
    allow(fleet)
    array = np.array([[np.nan, 1.0, np.inf]], np.float32)
    fleet.store.sampled_inputs.receive("pi", START_MS, sample(digest, array, name="file"))
    (listed,) = operator.get("/inputs")
    assert operator.get(f"/inputs/{listed['id']}?format=json")["values"] == [None, 1.0, None]
    with np.load(io.BytesIO(operator.client.get(f"/api/v1/inputs/{listed['id']}").data)) as arrays:
        assert np.array_equal(arrays["file"], array, equal_nan=True)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/sampling", {"per_hour": 3601}, 400, "invalid_request"),
        ("/sampling", {"per_hour": -1}, 400, "invalid_request"),
        ("/sampling", {"per_hour": 1, "low_confidence_percent": 101}, 400, "invalid_request"),
        ("/sampling", {"per_hour": 1, "forever": True}, 400, "invalid_request"),
        ("/devices/nobody/sampling", {"per_hour": 1}, 404, "device_unknown"),
        ("/groups/nothing/sampling", {"per_hour": 1}, 404, "no_such_group"),
    ],
)
def test_bad_policies_are_refused_in_words(
    fleet: Fleet, admin: Browser, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    assert admin.refused(put(admin, path, body, status)) == code
    assert fleet.store.sampling.list() == []


def put(browser: Browser, path: str, body: Any, status: int = 200) -> Any:
    answer = browser.client.put(f"/api/v1{path}", json=body, headers=browser.headers)
    assert answer.status_code == status, answer.text
    return answer.json


class _Api:
    """The command line's API, answered by the application without a socket."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def _send(self, method: str, path: str, **more: Any) -> Any:
        answer = self._browser.client.open(
            f"/api/v1{path}", method=method, headers=self._browser.headers, **more
        )
        if answer.status_code >= 400:
            raise ApiFailure(answer.json["error"]["message"], answer.json["error"]["code"])
        return answer

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, query_string=query).json

    def put(self, path: str, body: Any) -> Any:
        return self._send("PUT", path, json=body).json

    def delete(self, path: str) -> Any:
        answer = self._send("DELETE", path)
        return answer.json if answer.status_code == 200 else None

    def download(self, path: str) -> list[bytes]:
        return [self._send("GET", path).data]


def test_the_command_line_from_the_policy_to_the_last_input(
    fleet: Fleet, digest: str, admin: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(sampling_module, "api", lambda _url, _token: _Api(admin))

    def run(*words: str) -> str:
        said = CliRunner().invoke(edgepress, ["sampling", *words])
        assert said.exit_code == 0, said.output
        return said.output

    assert "no input leaves any device" in run("list")
    assert "pi: at most 12 inputs an hour" in run("set", "--device", "pi", "--per-hour", "12")
    assert "device/pi" in run("list")
    for n in range(3):
        fleet.store.sampled_inputs.receive("pi", START_MS + n, sample(digest))
    listed = json.loads(run("inputs", "--device", "pi", "--json"))
    assert len(listed) == 3 and "1x3x2x2" in run("inputs")
    target = tmp_path / "one.npz"
    assert "Wrote" in run("get", listed[0]["id"], "-o", str(target))
    with np.load(target) as arrays:
        assert np.array_equal(arrays["x"], PICTURE)
    assert "Deleted 1 sampled input." in run("delete", listed[0]["id"])
    assert "Deleted 2 sampled inputs." in run("delete", "--device", "pi")
    assert "No sampled inputs" in run("inputs")
    assert "Forgotten" in run("clear", "--device", "pi")
    assert CliRunner().invoke(edgepress, ["sampling", "delete"]).exit_code == 2
    wrong = CliRunner().invoke(
        edgepress, ["sampling", "set", "--device", "pi", "--group", "g", "--per-hour", "1"]
    )
    assert wrong.exit_code == 2 and "not both" in wrong.output
