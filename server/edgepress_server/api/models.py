"""Models: upload, look at, describe."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.artifacts import ArtifactSummary
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.jobs import JobAnswer
from edgepress_server.api.problems import ErrorBody
from edgepress_server.api.uploads import RAW_BODY, check_size, receive
from edgepress_server.jobs.inspect import inspect_model
from edgepress_server.store.models import Model

api = section("models", "As uploaded, and what was made of them.")

Name = Annotated[str, Field(max_length=80, description="1 to 64 letters, digits and . _ -")]


class ModelPath(Asked):
    name: Name


class ModelQuery(Asked):
    name: Name
    dataset: Annotated[str, Field(max_length=80)] | None = None


class ModelChange(Asked):
    dataset: Annotated[str, Field(max_length=80)] | None = None
    note: Annotated[str, Field(max_length=2000)] | None = None


class TensorAnswer(Answer):
    name: str
    shape: list[int | str] = Field(description='"N" stands for the batch')
    dtype: str


class ModelAnswer(Answer):
    name: str
    bytes: int = Field(description="Of the ONNX file")
    weight_bytes: int = Field(description="All float weights at 4 bytes each")
    parameters: int
    macs: int | None = Field(
        description="Multiply-accumulates of one sample; null where shapes are not known"
    )
    inputs: list[TensorAnswer]
    outputs: list[TensorAnswer]
    dataset: str | None
    note: str
    created_at: int
    artifacts: list[ArtifactSummary]
    jobs: list[JobAnswer] = Field(description="Newest first")


class Models(RootModel[list[ModelAnswer]]):
    pass


def _answer(model: Model) -> ModelAnswer:
    store, facts = context().store, model.facts
    return ModelAnswer(
        name=model.name,
        bytes=facts.bytes,
        weight_bytes=facts.weight_bytes,
        parameters=facts.parameters,
        macs=facts.macs,
        inputs=[TensorAnswer.model_validate(tensor) for tensor in facts.inputs],
        outputs=[TensorAnswer.model_validate(tensor) for tensor in facts.outputs],
        dataset=model.dataset,
        note=model.note,
        created_at=model.created_at,
        artifacts=[ArtifactSummary.of(artifact) for artifact in store.artifacts.list(model=model.name)],
        jobs=[JobAnswer.model_validate(job) for job in store.jobs.list(model=model.name, limit=50)],
    )


@api.get("/models", responses={200: Models})
@needs("viewer")
def list_models() -> Response:
    """All models, newest first"""
    return answers([_answer(model) for model in context().store.models.list()])


@api.post(
    "/models",
    responses={201: ModelAnswer, 413: ErrorBody, 507: ErrorBody},
    openapi_extensions={"requestBody": RAW_BODY},
)
@needs("operator")
def add_model(query: ModelQuery) -> Response:
    """Upload a model

    The body is an .onnx file or a program saved by torch.export.save (.pt2), which is converted to ONNX. It
    is inspected in a process of its own before anything is stored.
    """
    store = context().store
    store.models.check_free(query.name)
    if query.dataset is not None:
        store.datasets.get(query.dataset)
    check_size()
    with store.blobs.writer() as upload:
        receive(upload)
        with store.blobs.writer() as converted:
            facts, is_converted = inspect_model(upload.flush(), converted)
            blob = converted.keep() if is_converted else upload.keep()
    return answer(_answer(store.models.add(query.name, blob, facts, query.dataset, actor=person().name)), 201)


@api.get("/models/<name>", responses={200: ModelAnswer})
@needs("viewer")
def get_model(path: ModelPath) -> Response:
    """One model with its artifacts and jobs"""
    return answer(_answer(context().store.models.get(path.name)))


@api.patch("/models/<name>", responses={200: ModelAnswer})
@needs("operator")
def change_model(path: ModelPath, body: ModelChange) -> Response:
    """Set the data set that judges it, or the note"""
    model = context().store.models.change(
        path.name, dataset=body.dataset, note=body.note, actor=person().name
    )
    return answer(_answer(model))
