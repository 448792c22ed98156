"""``GET /metrics``: for Prometheus and whoever reads its formats.

Who may: everybody with a token of at least the role viewer (``Authorization: Bearer``); and, unless the
setting ``metrics_access`` is "token", programs on this machine without one. A page in a browser on this
machine is no such program: it comes with a name of its own in ``Host``, or with ``Origin``.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, request

from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.ecosystem import http_counts
from edgepress_server.ecosystem.exposition_protobuf import PROTOBUF_TYPE, write_protobuf
from edgepress_server.ecosystem.exposition_text import OPENMETRICS_TYPE, TEXT_TYPE, write_text
from edgepress_server.ecosystem.negotiate import wanted_format
from edgepress_server.ecosystem.scrape import Scrape
from edgepress_server.errors import ForbiddenError, UnauthenticatedError
from edgepress_server.settings import is_loopback
from edgepress_server.store import Store

SCRAPE: Final = "edgepress_scrape"


def install(app: Flask, store: Store, *, devices_most: int) -> None:
    app.extensions[SCRAPE] = Scrape(store, devices_most=devices_most)
    http_counts.install(app)
    blueprint = Blueprint("metrics", __name__)
    blueprint.add_url_rule("/metrics", "metrics", get_metrics)
    app.register_blueprint(blueprint)


@public
def get_metrics() -> Response:
    _admit()
    scrape: Scrape = current_app.extensions[SCRAPE]
    counts: http_counts.HttpCounts = current_app.extensions[http_counts.EXTENSION]
    families = [*scrape.families(), *(family for family in counts.families() if family.points)]
    form = wanted_format(request.headers.get("Accept", ""))
    if form == "protobuf":
        body, mimetype = write_protobuf(families), PROTOBUF_TYPE
    elif form == "openmetrics":
        body, mimetype = write_text(families, openmetrics=True), OPENMETRICS_TYPE
    else:
        body, mimetype = write_text(families, openmetrics=False), TEXT_TYPE
    response = current_app.response_class(body)
    response.headers["Content-Type"] = mimetype
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    return response


def _admit() -> None:
    """Raises UnauthenticatedError, ForbiddenError, RateLimitedError."""
    here = context()
    header = request.headers.get("Authorization")
    if header is None and _is_local() and here.settings.metrics_access == "loopback":
        return
    try:
        kind, _, secret = (header or "").partition(" ")
        if kind.lower() != "bearer":
            raise UnauthenticatedError(
                "metrics_token",
                "/metrics needs a token: make one with `edgepress token create prometheus --role viewer` and "
                "send it as `Authorization: Bearer TOKEN`.",
            )
        found = here.store.tokens.find(secret.strip())
        if found is None:
            raise UnauthenticatedError("bad_token", "The token is unknown, has expired or was revoked.")
        person, _ = found
        if not person.may("viewer"):
            raise ForbiddenError("role", "This needs the role viewer.")
    except (UnauthenticatedError, ForbiddenError):
        here.request_limits.refused.count(f"address {request.remote_addr}")
        raise
    here.request_limits.reads.count(person.name)


def _is_local() -> bool:
    """A program of this machine asks, by an address of this machine, and through no proxy."""
    settings = context().settings
    if settings.public_url is not None or not is_loopback(request.remote_addr or ""):
        return False
    if "Origin" in request.headers or "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    return is_loopback(urlsplit(f"//{request.host}").hostname or "")
