"""How views answer, and what the OpenAPI document says of every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, current_app
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict

from edgepress_server.api.auth import PREFIX
from edgepress_server.api.problems import ErrorBody

ERRORS: dict[str | int, type[BaseModel] | dict[Any, Any] | None] = {
    400: ErrorBody,
    401: ErrorBody,
    403: ErrorBody,
    404: ErrorBody,
    409: ErrorBody,
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"session": []}]


class Asked(BaseModel):
    """Base of request bodies: a misspelt field is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", str_max_length=10_000)


class Answer(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(from_attributes=True)


def section(name: str, about: str, *, open_to_all: bool = False) -> APIBlueprint:
    """The addresses of one kind of thing, under /api/v1."""
    return APIBlueprint(
        name,
        __name__,
        url_prefix=PREFIX,
        abp_tags=[Tag(name=name, description=about)],
        abp_security=[] if open_to_all else SECURITY,
        abp_responses=dict(ERRORS),
        operation_id_callback=_operation_id,
    )


def answer(body: BaseModel, status: int = 200) -> Response:
    return current_app.response_class(body.model_dump_json(), status=status, mimetype="application/json")


def answers(bodies: Sequence[BaseModel], status: int = 200) -> Response:
    text = "[" + ",".join(body.model_dump_json() for body in bodies) + "]"
    return current_app.response_class(text, status=status, mimetype="application/json")


def nothing() -> Response:
    return current_app.response_class(status=204)


def _operation_id(*, name: str, path: str, method: str) -> str:
    return name
