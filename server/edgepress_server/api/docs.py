"""The OpenAPI document and a page to browse it; all of it served from here, nothing from a foreign host."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, send_from_directory
from flask_openapi3.openapi import OpenAPI

from edgepress_server.api.auth import PREFIX, public

_SWAGGER = Path(str(files("flask_openapi3_swagger"))) / "templates" / "swagger"
_SPEC_URL = f"{PREFIX}/openapi.json"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>edgepress API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/api/docs/swagger/css/swagger-ui.css">
</head>
<body>
<div id="api">The description of the API is at <a href="{spec}">{spec}</a>.</div>
<script src="/api/docs/swagger/js/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
"""
# A browser that is signed in tries requests with its session: the CSRF token is fetched once and sent along.
_START = """let csrf = "";
fetch("/api/v1/session", {credentials: "same-origin"})
  .then((response) => (response.ok ? response.json() : {csrf: ""}))
  .then((session) => { csrf = session.csrf; });
SwaggerUIBundle({
  url: "%s",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    if (csrf && request.method !== "GET") request.headers["X-CSRF-Token"] = csrf;
    return request;
  },
});
"""


def install(app: OpenAPI) -> None:
    pages = Blueprint("docs", __name__)

    @public
    def spec() -> Response:
        return jsonify(openapi_document(app))

    def page() -> Response:
        return Response(_PAGE.format(spec=_SPEC_URL), mimetype="text/html")

    def start() -> Response:
        return Response(_START % _SPEC_URL, mimetype="text/javascript")

    def swagger(name: str) -> Response:
        return send_from_directory(_SWAGGER, name)

    pages.add_url_rule(_SPEC_URL, "spec", spec)
    pages.add_url_rule("/api/docs", "page", page, strict_slashes=False)
    pages.add_url_rule("/api/docs/start.js", "start", start)
    pages.add_url_rule("/api/docs/swagger/<path:name>", "swagger", swagger)
    app.register_blueprint(pages)


def openapi_document(app: OpenAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of every address under /api/v1."""
    document: dict[str, Any] = app.api_doc
    for schema in document["components"]["schemas"].values():
        schema.pop("$defs", None)  # flask-openapi3 lifts them to components and leaves the copy behind
    return document
