"""The built web UI: files as they are, and its index page for every address that the UI itself routes."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Flask, Response, send_from_directory
from markupsafe import escape
from werkzeug.exceptions import NotFound

from edgepress_server.api.auth import public
from edgepress_server.web_stamp import STATIC, missing_reason

_MISSING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>edgepress</title></head>
<body><h1>edgepress is running</h1><p>{reason}</p>
<p>The API works without it: <a href="/api/docs">/api/docs</a>.</p></body></html>
"""


def install(app: Flask, static: Path = STATIC) -> None:
    reason = missing_reason(static)
    pages = Blueprint("pages", __name__)

    @public
    def page(name: str = "index.html") -> Response:
        if name.startswith("api/"):
            raise NotFound()  # answered as JSON
        if reason is not None:
            return Response(_MISSING.format(reason=escape(reason)), 503, mimetype="text/html")
        if (static / name).is_file():
            response = send_from_directory(static, name)
        elif name.startswith("assets/") or ("/" not in name and Path(name).suffix):
            raise NotFound()  # a missing file; /models/squeezenet1.1 is an address of the UI
        else:
            name = "index.html"
            response = send_from_directory(static, name)
        # Files under assets/ carry a hash of their content in their name.
        lasting = name.startswith("assets/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return response

    pages.add_url_rule("/", "index", page)
    pages.add_url_rule("/<path:name>", "page", page)
    app.register_blueprint(pages)
