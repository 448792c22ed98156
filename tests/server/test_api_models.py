"""Uploading models and data sets, and compressing them: through the API's own door."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI
from onnx_files import tiny_npz, tiny_onnx
from server_story import Browser, sign_in

from edgepress_server.api import uploads
from edgepress_server.jobs import inspect
from edgepress_server.store import Store
from edgepress_server.store.jobs import Result
from edgepress_server.store.models import ModelFacts


def nothing_left_aside(store: Store) -> bool:
    return not any((store.blobs.folder / "aside").iterdir())


def test_a_model_is_uploaded_and_described(operator: Browser, store: Store) -> None:
    model = operator.send("/models?name=tiny", tiny_onnx())
    assert (model["parameters"], model["weight_bytes"], model["macs"]) == (12, 48, 12)
    assert model["inputs"] == [{"name": "x", "shape": ["N", 4], "dtype": "float32"}]
    assert store.blobs.read(store.models.get("tiny").blob) == tiny_onnx()
    assert operator.get("/models/tiny") == model and operator.get("/models") == [model]
    assert nothing_left_aside(store)


def test_a_name_is_taken_once_and_refused_before_the_upload(operator: Browser, store: Store) -> None:
    operator.send("/models?name=tiny", tiny_onnx())
    assert operator.refused(operator.send("/models?name=tiny", b"ignored", 409)) == "model_exists"


CASES = [
    ("an empty file", b"", "empty_upload", "empty"),
    ("a text file", b"hello, this is a poem and no model", "model_unusable", "ONNX"),
    ("a JSON file", b'{"a": 1}', "model_unusable", "text file"),
    ("a truncated ONNX", tiny_onnx()[:-20], "model_unusable", ""),
    ("a pickle", b"\x80\x02abc", "model_unusable", "pickle"),
    ("an operator nobody knows", tiny_onnx(operator="Frobnicate"), "model_unusable", "Frobnicate"),
]


@pytest.mark.parametrize(("what", "data", "code", "words"), CASES, ids=[case[0] for case in CASES])
def test_a_wrong_file_is_refused_with_a_reason(
    operator: Browser, store: Store, what: str, data: bytes, code: str, words: str
) -> None:
    answer = operator.send("/models?name=tiny", data, 400)
    assert operator.refused(answer) == code
    assert words in answer["error"]["message"]
    assert operator.get("/models") == [] and nothing_left_aside(store)


def test_an_upload_past_the_limit_is_refused_from_its_header(
    operator: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_MAX_BYTES", 100)
    assert operator.refused(operator.send("/models?name=tiny", tiny_onnx(), 413)) == "too_large"


def test_an_upload_that_hides_its_length_is_cut_off_at_the_limit(
    operator: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_MAX_BYTES", 100)
    answer = operator.client.post(
        "/api/v1/models?name=tiny",
        input_stream=io.BytesIO(b"x" * 10_000_000),
        headers={**operator.headers, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, operator.refused(answer.json)) == (413, "too_large")
    assert nothing_left_aside(store)


def test_an_upload_that_breaks_off_is_refused(operator: Browser, store: Store) -> None:
    answer = operator.client.post(
        "/api/v1/models?name=tiny",
        input_stream=io.BytesIO(tiny_onnx()),
        headers=operator.headers,
        environ_overrides={"CONTENT_LENGTH": "100000"},
    )
    assert (answer.status_code, operator.refused(answer.json)) == (400, "upload_broke_off")
    assert operator.get("/models") == [] and nothing_left_aside(store)


def test_a_full_disk_is_507_with_a_sentence(
    operator: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    answer = operator.send("/models?name=tiny", tiny_onnx(), 507)
    assert operator.refused(answer) == "disk_full"
    assert operator.get("/models") == [] and nothing_left_aside(store)


def test_a_file_that_crashes_the_inspection_is_refused(
    operator: Browser, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o700)
    monkeypatch.setattr(inspect.sys, "executable", str(crash))
    answer = operator.send("/models?name=tiny", tiny_onnx(), 400)
    assert "Nothing was stored." in answer["error"]["message"]
    assert nothing_left_aside(store)


def test_a_data_set_is_uploaded_and_described(operator: Browser) -> None:
    found = operator.send("/datasets?name=digits", tiny_npz())
    assert found["task"] == "classification"
    assert found["summary"]["splits"] == {"test": 4, "train": 16}
    assert operator.get("/datasets") == [found]
    model = operator.send("/models?name=tiny&dataset=digits", tiny_onnx())
    assert model["dataset"] == "digits"


@pytest.mark.parametrize("data", [b"hello", b"PK\x03\x04" + b"x" * 50, tiny_npz()[:-30]])
def test_a_wrong_data_set_is_refused_with_a_reason(operator: Browser, store: Store, data: bytes) -> None:
    answer = operator.send("/datasets?name=digits", data, 400)
    assert operator.refused(answer) == "dataset_unusable"
    assert operator.get("/datasets") == [] and nothing_left_aside(store)


def test_only_an_admin_names_files_on_the_servers_disk(
    app: OpenAPI, store: Store, operator: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "digits.npz"
    file.write_bytes(tiny_npz())
    body = {"name": "digits", "path": str(file)}
    assert operator.refused(operator.post("/datasets", body, 403)) == "role"
    admin = sign_in(app, store, "admin")
    assert admin.post("/datasets", body, 201)["path"] == str(file)
    assert admin.refused(admin.post("/datasets", {"name": "b", "path": "digits.npz"}, 400)) == "dataset_path"
    gone = {"name": "b", "path": str(tmp_path / "gone.toml")}
    assert admin.refused(admin.post("/datasets", gone, 400)) == "dataset_unusable"


def test_a_models_data_set_must_exist(operator: Browser) -> None:
    answer = operator.send("/models?name=tiny&dataset=none", tiny_onnx(), 404)
    assert operator.refused(answer) == "dataset_unknown"


@pytest.fixture
def tiny(store: Store) -> None:
    """A model with its data set, put into the store without the seconds that inspection takes."""
    blob = store.blobs.put(tiny_npz())
    store.datasets.add("digits", blob=blob, task="classification", summary={"splits": {}}, actor=None)
    facts = ModelFacts(len(tiny_onnx()), 48, 12, 12, [], [])
    store.models.add("tiny", store.blobs.put(tiny_onnx()), facts, "digits", actor=None)


def test_one_job_for_each_profile_and_the_same_wish_twice_is_the_same_jobs(
    operator: Browser, tiny: None
) -> None:
    body = {"model": "tiny", "recipe": "int8", "profiles": ["raspberry-pi-4", "raspberry-pi-5"]}
    jobs = operator.post("/jobs", body, 201)
    assert [(job["profile"], job["state"], job["dataset"]) for job in jobs] == [
        ("raspberry-pi-4", "queued", "digits"),
        ("raspberry-pi-5", "queued", "digits"),
    ]
    assert operator.post("/jobs", {**body, "options": {"seed": 0}}, 201) == jobs
    assert operator.post("/jobs", {**body, "options": {"seed": 1}}, 201) != jobs
    assert operator.post(f"/jobs/{jobs[0]['id']}/cancel")["state"] == "cancelled"
    assert len(operator.get("/models/tiny")["jobs"]) == 4


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"model": "none"}, "model_unknown", 404),
        ({"recipe": "nothing"}, "recipe_unknown", 404),
        ({"recipe": "../../x.toml"}, "recipe_unknown", 404),
        ({"recipe": "weightless"}, "recipe_needs_data", 400),
        ({"options": {"target_bytes": 1000}}, "recipe_takes_no_budget", 400),
        ({"options": {"coding": "zip"}}, "coding_unknown", 400),
        ({"profiles": ["raspberry"]}, "profile_unknown", 404),
        ({"profiles": ["/etc/passwd"]}, "profile_unknown", 404),
        ({"profiles": []}, "invalid_request", 400),
        ({"dataset": "none"}, "dataset_unknown", 404),
        ({"options": {"sed": 1}}, "invalid_request", 400),
    ],
)
def test_a_job_that_cannot_be_is_refused_at_once(
    operator: Browser, tiny: None, change: dict[str, Any], code: str, status: int
) -> None:
    body = {"model": "tiny", "recipe": "int8", "profiles": ["raspberry-pi-4"], **change}
    assert operator.refused(operator.post("/jobs", body, status)) == code
    assert operator.get("/jobs") == []


def test_recipes_say_what_a_data_set_lacks_and_what_their_options_are(
    operator: Browser, store: Store, tiny: None
) -> None:
    splits = {"train": 40, "test": 10}
    store.datasets.add("whole", blob="b", task="classification", summary={"splits": splits}, actor=None)
    without = {one["name"]: one for one in operator.get("/recipes")}
    whole = {one["name"]: one for one in operator.get("/recipes?dataset=whole")}
    assert "labelled samples to train on: give a data set" in without["weightless"]["lacks"]
    assert without["int8"]["lacks"] is None
    assert whole["weightless"]["lacks"] is None
    assert (whole["weightless"]["kind"], whole["weightless"]["needs"]) == ("several methods", "labelled")
    one = operator.get("/recipes/int8")
    options = {option["name"]: option for option in one["passes"][0]["options"]}
    assert (options["samples"]["value"], options["samples"]["default"]) == (200, 100)
    assert 'name = "int8"' in one["toml"]
    assert operator.refused(operator.get("/recipes/nothing", 404)) == "recipe_unknown"
    assert operator.refused(operator.get("/recipes?dataset=none", 404)) == "dataset_unknown"


def test_an_artifact_is_listed_shown_and_served_in_ranges(
    operator: Browser, store: Store, tiny: None
) -> None:
    body = {"model": "tiny", "recipe": "int8", "profiles": ["raspberry-pi-4"]}
    operator.post("/jobs", body, 201)
    job = store.jobs.take("w")
    assert job is not None
    digest = store.blobs.put(b"0123456789")
    store.jobs.finish(job, Result(digest, 10, {"bytes": {"artifact": 10}, "stages": [1]}))
    assert operator.get("/artifacts?model=tiny")[0]["report"] == {"bytes": {"artifact": 10}}
    assert operator.get("/artifacts?profile=raspberry-pi-5") == []
    assert operator.get(f"/artifacts/{digest}")["report"]["stages"] == [1]
    with operator.client.get(f"/api/v1/artifacts/{digest}/file") as whole:
        assert (whole.status_code, whole.data) == (200, b"0123456789")
        assert whole.headers["Content-Type"] == "application/octet-stream"
    with operator.client.get(f"/api/v1/artifacts/{digest}/file", headers={"Range": "bytes=2-4"}) as part:
        assert (part.status_code, part.data) == (206, b"234")
    assert operator.refused(operator.get(f"/artifacts/{'0' * 64}/file", 404)) == "artifact_unknown"
    assert operator.client.get("/api/v1/jobs", query_string={"model": "tiny"}).json[0]["artifact"] == digest
