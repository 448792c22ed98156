"""Writes docs/api.md from the OpenAPI document: ``python -m edgepress_server.api.reference docs/api.md``.

A test fails when the page is not what this writes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask_openapi3.openapi import OpenAPI

from edgepress_server.api.app import create_app
from edgepress_server.api.docs import openapi_document
from edgepress_server.files import replace_file
from edgepress_server.settings import Settings
from edgepress_server.store import open_store

_HEAD = """# REST API

Written by `python -m edgepress_server.api.reference docs/api.md` (`make docs`) from the OpenAPI document,
which a running server gives at `/api/v1/openapi.json` and shows at `/api/docs`.

- Times are Unix milliseconds. `null` means absent, never 0 or -1.
- Programs send `Authorization: Bearer TOKEN` (`edgepress token create NAME`). Browsers have a session cookie
  and send `X-CSRF-Token` with everything that writes.
- Roles: viewer < operator < admin; each may do all that the ones before it may.
- A failure is `{"error": {"code": "device_exists", "message": "what happened and what to do"}}` with its HTTP
  status: 400 the request cannot be used, 401 not signed in, 403 the role does not suffice, 404 no such thing,
  409 its state does not allow this, 410 used or expired, 413 too large, 429 too many failures (see
  `Retry-After`), 503 the store is busy, 507 the disk is full. A fault of the server itself is 500 with an id
  that its log explains.
"""
_ERRORS = {"400", "401", "403", "404", "409", "413", "503", "507"}


def reference(app: OpenAPI) -> str:
    """The page as Markdown."""
    document = openapi_document(app)
    lines = [_HEAD, ""]
    for tag in document["tags"]:
        about = tag["description"].rstrip(".")
        lines += [f"## {tag['name'].capitalize()}: {about[:1].lower()}{about[1:]}", ""]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    lines += _operation(app, method, path, operation)
    lines += ["## Bodies of requests and answers", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _operation(app: OpenAPI, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}"
    yield ""
    yield f"{operation['summary']}. {_role(app, path, method)}"
    yield ""
    if about := operation.get("description", "").replace("<br/>", " ").strip():
        yield " ".join(about.split())
        yield ""
    parameters = [p for p in operation.get("parameters", []) if p["in"] != "path"]
    for parameter in parameters:
        needed = ", needed" if parameter["required"] else ""
        about = f": {parameter['description']}" if parameter.get("description") else ""
        yield f"- `?{parameter['name']}=` {_type(parameter['schema'])}{needed}{about}"
    if "requestBody" in operation:
        body = operation["requestBody"]
        kinds = [_content(kind, part) for kind, part in body["content"].items()]
        about = f". {body['description']}" if body.get("description") else ""
        yield f"- body: {' or '.join(kinds)}{about}"
    for status, answer in operation["responses"].items():
        if status not in _ERRORS:
            kinds = [_content(kind, part) for kind, part in answer.get("content", {}).items()]
            yield f"- {status}: {' or '.join(kinds) or 'no body'}"
    yield ""


def _role(app: OpenAPI, path: str, method: str) -> str:
    adapter = app.url_map.bind("reference")
    endpoint, _ = adapter.match(path.replace("{", "").replace("}", ""), method.upper())
    role = getattr(app.view_functions[endpoint], "required_role", None)
    return f"Needs the role {role}." if role is not None else "Open to all."


def _content(kind: str, part: dict[str, Any]) -> str:
    schema = part.get("schema", {})
    return _type(schema) if kind == "application/json" and schema.get("type") != "string" else f"`{kind}`"


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if about := schema.get("description"):
        yield " ".join(about.split())
        yield ""
    if "properties" not in schema:
        yield _type(schema)
        yield ""
        return
    needed = schema.get("required", [])
    for field, inside in schema["properties"].items():
        about = f": {inside['description']}" if inside.get("description") else ""
        default = (
            f", default `{_json(inside['default'])}`" if "default" in inside and field not in needed else ""
        )
        yield f"- `{field}` {_type(inside)}{default}{about}"
    yield ""


def _type(schema: dict[str, Any]) -> str:  # noqa: PLR0911 - one return for each kind of schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{_json(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{_json(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and schema.get("additionalProperties"):
        inside = schema["additionalProperties"]
        return f"object of {_type(inside) if isinstance(inside, dict) else 'anything'}"
    return str(schema.get("type", "anything"))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        text = reference(create_app(Settings(data_dir=Path(folder)), store))
        store.close()
    replace_file(target, text.encode(), mode=0o644)


if __name__ == "__main__":
    main()
