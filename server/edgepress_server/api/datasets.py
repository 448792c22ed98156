"""Labelled data sets: what calibrates, fine-tunes and judges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from flask import Response, request
from pydantic import Field, RootModel, ValidationError

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.problems import ErrorBody, invalid
from edgepress_server.api.uploads import RAW_BODY, check_size, receive
from edgepress_server.errors import ForbiddenError, InvalidInputError
from edgepress_server.jobs.inspect import inspect_dataset
from edgepress_server.store.datasets import DatasetRow

api = section("datasets", "Labelled; they calibrate, fine-tune and judge.")

Name = Annotated[str, Field(max_length=80, description="1 to 64 letters, digits and . _ -")]


class DatasetQuery(Asked):
    name: Name | None = Field(None, description="Needed with an .npz body")


class DatasetOnDisk(Asked):
    name: Name
    path: Annotated[
        str, Field(max_length=4096, description="A .toml (docs/datasets.md) or .npz on the server")
    ]


class DatasetAnswer(Answer):
    name: str
    task: str
    path: str | None = Field(description="On the server's disk; null: uploaded")
    summary: dict[str, Any] = Field(description="splits (name -> samples), inputs, classes")
    created_at: int


class Datasets(RootModel[list[DatasetAnswer]]):
    pass


_BODY = {
    **RAW_BODY,
    "description": "Either an .npz file (arrays by input name, and `labels`) with ?name=, or JSON that names "
    "a file on the server's own disk, which only an admin may.",
    "content": {
        **RAW_BODY["content"],
        "application/json": {"schema": DatasetOnDisk.model_json_schema()},
    },
}


@api.get("/datasets", responses={200: Datasets})
@needs("viewer")
def list_datasets() -> Response:
    """All data sets"""
    return answers([DatasetAnswer.model_validate(dataset) for dataset in context().store.datasets.list()])


@api.post(
    "/datasets",
    responses={201: DatasetAnswer, 413: ErrorBody, 507: ErrorBody},
    openapi_extensions={"requestBody": _BODY},
)
@needs("operator")
def add_dataset(query: DatasetQuery) -> Response:
    """Add a data set

    It is opened in a process of its own before anything is stored.
    """
    if request.mimetype == "application/json":
        try:
            body = DatasetOnDisk.model_validate(request.get_json(silent=True))
        except ValidationError as error:
            return invalid(error)
        return _answer(_add_on_disk(body))
    if query.name is None:
        raise InvalidInputError("dataset_name", "Give the data set a name: POST /datasets?name=NAME.")
    return _answer(_add_upload(query.name))


def _add_on_disk(body: DatasetOnDisk) -> DatasetRow:
    store = context().store
    if not person().may("admin"):
        raise ForbiddenError(
            "role", "Only an admin may name files on the server's disk. Upload an .npz instead."
        )
    store.datasets.check_free(body.name)
    path = Path(body.path)
    if not path.is_absolute():
        raise InvalidInputError("dataset_path", "Give the absolute path of the file on the server.")
    task, summary = inspect_dataset(path)
    return store.datasets.add(body.name, path=str(path), task=task, summary=summary, actor=person().name)


def _add_upload(name: str) -> DatasetRow:
    store = context().store
    store.datasets.check_free(name)
    check_size()
    with store.blobs.writer() as upload:
        receive(upload)
        task, summary = inspect_dataset(upload.flush(), as_npz=name)
        blob = upload.keep()
    return store.datasets.add(name, blob=blob, task=task, summary=summary, actor=person().name)


def _answer(dataset: DatasetRow) -> Response:
    return answer(DatasetAnswer.model_validate(dataset), 201)
