"""Artifacts: what compression made, with its report and its bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from flask import Response, send_file
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.store.artifacts import Artifact

api = section("artifacts", "What compression made, by SHA-256.")

_BRIEF = ("bytes", "accuracy", "latency_us")  # the report's parts that lists show


class ArtifactPath(Asked):
    digest: Annotated[str, Field(max_length=80)]


class ArtifactsQuery(Asked):
    model: Annotated[str, Field(max_length=80)] | None = None
    profile: Annotated[str, Field(max_length=80)] | None = None


class ArtifactAnswer(Answer):
    digest: str = Field(description="SHA-256 of the file")
    model: str
    profile: str
    recipe: str
    bytes: int
    report: dict[str, Any] = Field(description="See docs/report.md")
    created_at: int


class ArtifactSummary(ArtifactAnswer):
    report: dict[str, Any] = Field(description="Of the report only bytes, accuracy and latency_us")

    @classmethod
    def of(cls, artifact: Artifact) -> ArtifactSummary:
        brief = {key: artifact.report[key] for key in _BRIEF if key in artifact.report}
        return cls(**{**vars(artifact), "report": brief})


class Artifacts(RootModel[list[ArtifactSummary]]):
    pass


@api.get("/artifacts", responses={200: Artifacts})
@needs("viewer")
def list_artifacts(query: ArtifactsQuery) -> Response:
    """All artifacts, newest first; of one model or profile if asked"""
    found = context().store.artifacts.list(model=query.model, profile=query.profile)
    return answers([ArtifactSummary.of(artifact) for artifact in found])


@api.get("/artifacts/<digest>", responses={200: ArtifactAnswer})
@needs("viewer")
def get_artifact(path: ArtifactPath) -> Response:
    """One artifact with its whole report"""
    return answer(ArtifactAnswer.model_validate(context().store.artifacts.get(path.digest)))


@api.get(
    "/artifacts/<digest>/file",
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
@needs("viewer")
def get_artifact_file(path: ArtifactPath) -> Response:
    """The artifact's bytes; takes Range requests"""
    store = context().store
    artifact = store.artifacts.get(path.digest)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{artifact.model}.{artifact.profile}.{artifact.recipe}")
    return send_file(
        store.blobs.path(artifact.digest),
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=f"{name}.epa",
        conditional=True,
        etag=artifact.digest,
    )
