"""Every failure becomes ``{"error": {"code", "message"}}`` with the right status; no stack trace leaves the
server.

What nobody foresaw is logged under an id, and the answer names only that id.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any

from flask import Flask, Response, jsonify, request
from flask.json.provider import DefaultJSONProvider
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException

from edgepress_compression.errors import DatasetError, EdgepressError, GraphError, RecipeError
from edgepress_devices.profile import ProfileError, UnknownProfile
from edgepress_server.errors import DiskFullError, RateLimitedError, ServerError, is_disk_full

log = logging.getLogger(__name__)

_CODES: dict[type[EdgepressError], str] = {
    GraphError: "model_unusable",
    DatasetError: "dataset_unusable",
    RecipeError: "recipe_unusable",
}
_SENTENCES = {
    400: ("bad_request", "The request could not be read."),
    404: ("not_found", "There is nothing at this address. The API is described at /api/docs."),
    405: ("method_not_allowed", "This address does not take that method. The API is described at /api/docs."),
    413: ("too_large", "The request is larger than this address takes."),
    415: ("media_type", "Send JSON with Content-Type: application/json."),
    416: ("range", "The requested range lies outside the file."),
}


class Problem(BaseModel):
    code: str = Field(description="Stable name for programs, such as device_exists")
    message: str = Field(description="What happened and what to do, for people")


class ErrorBody(BaseModel):
    """The answer to every request that failed."""

    error: Problem


class ShallowJSON(DefaultJSONProvider):
    """JSON nested so deeply that no honest program sends it is unreadable, not a fault of the server."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def install(app: Flask) -> None:
    app.json = ShallowJSON(app)
    app.json.sort_keys = False
    app.register_error_handler(ParseException, _broken_body)
    app.register_error_handler(ServerError, _server_error)
    app.register_error_handler(EdgepressError, _edgepress_error)
    app.register_error_handler(ProfileError, _profile_error)
    app.register_error_handler(OSError, _os_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)


def invalid(error: ValidationError) -> Response:
    """pydantic's findings as one sentence (flask-openapi3's validation_error_callback)."""
    if not error.errors()[0]["loc"] and error.errors()[0]["type"] == "model_type":
        if request.mimetype != "application/json":
            return _answer(415, *_SENTENCES[415])
        return _answer(400, "invalid_json", "The body must be a JSON object.")
    findings = []
    for finding in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        where = ".".join(str(part) for part in finding["loc"]) or "the request"
        findings.append(f"{where}: {finding['msg'][:1].lower()}{finding['msg'][1:]}")
    return _answer(400, "invalid_request", "The request is not as it should be. " + "; ".join(findings) + ".")


def _answer(status: int, code: str, message: str) -> Response:
    response = jsonify({"error": {"code": code, "message": message}})
    response.status_code = status
    return response


def _server_error(error: ServerError) -> Response:
    if error.status >= 500:
        log.error("%s %s: %s", request.method, request.path, error.message, exc_info=error.__cause__)
    response = _answer(error.status, error.code, error.message)
    if isinstance(error, RateLimitedError):
        response.headers["Retry-After"] = str(error.retry_after_s)
    elif error.status == 503:
        response.headers["Retry-After"] = "2"
    return response


def _edgepress_error(error: EdgepressError) -> Response:
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "unusable")
    return _answer(400, code, str(error))


def _profile_error(error: ProfileError) -> Response:
    if isinstance(error, UnknownProfile):
        return _answer(404, "profile_unknown", _sentence(str(error)))
    return _answer(400, "profile_unusable", _sentence(str(error)))


def _os_error(error: OSError) -> Response:
    return _server_error(DiskFullError()) if is_disk_full(error) else _unforeseen(error)


def _broken_body(_error: ParseException) -> Response:
    return _answer(400, *_SENTENCES[400])


def _http_error(error: HTTPException) -> Response:
    if error.response is not None:  # abort(response): pydantic's findings, made by `invalid` above
        response = error.get_response()
        assert isinstance(response, Response)  # noqa: S101 - Flask's own class, since `invalid` made it
        return response
    status = error.code or 500
    code, sentence = _SENTENCES.get(
        status, (re.sub(r"\W+", "_", error.name.lower()), error.description or error.name)
    )
    return _answer(status, code, sentence)


def _unforeseen(error: Exception) -> Response:
    number = secrets.token_hex(4)
    log.error("error %s in %s %s", number, request.method, request.path, exc_info=error)
    return _answer(
        500,
        "internal",
        f"The server met a fault of its own and wrote it to its log under {number}. "
        "Please report it with that part of the log.",
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
