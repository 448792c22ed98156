"""Nobody who is not signed in makes the server wait for a large body.

The door (`edgepress_server.serve.door`) holds bodies of up to HELD_BODY_BYTES until they are whole, so a
thread never waits for one. Larger ones, and those that do not say how large they are, are for people who are
signed in: their views are asked who comes before anything of the body is read.
"""

from __future__ import annotations

from flask import Flask, current_app, request

from edgepress_server.api.auth import PREFIX
from edgepress_server.errors import TooLargeError

PUBLIC_BODY_BYTES = 65_536


def install(app: Flask) -> None:
    app.before_request(_check)


def _check() -> None:
    """Raises TooLargeError."""
    if request.endpoint is None or not request.path.startswith(PREFIX):
        return
    if getattr(current_app.view_functions[request.endpoint], "required_role", None) is not None:
        return
    announced = request.content_length
    if announced is None and request.headers.get("Transfer-Encoding") is None:
        return  # no body
    if announced is None or announced > PUBLIC_BODY_BYTES:
        raise TooLargeError(
            "too_large",
            f"Without being signed in a request has at most {PUBLIC_BODY_BYTES} bytes, and says how many "
            "(Content-Length).",
        )
