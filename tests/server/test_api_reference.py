"""The OpenAPI document is complete, and docs/api.md is what it says."""

from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI

from edgepress_server.api.docs import openapi_document
from edgepress_server.api.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if "$ref" in part else set()
        return own.union(*(references(inside) for inside in part.values()))
    if isinstance(part, list):
        return set().union(*(references(inside) for inside in part))
    return set()


def test_the_page_is_not_stale(app: OpenAPI) -> None:
    assert PAGE.read_text() == reference(app), (
        "run: python -m edgepress_server.api.reference docs/api.md (or make docs)"
    )


def test_every_address_is_described_with_its_answer(app: OpenAPI) -> None:
    document = openapi_document(app)
    described = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            described.add((path, method.upper()))
            assert operation["summary"], path
            answers = [answer for status, answer in operation["responses"].items() if status < "300"]
            assert answers and all("content" in a or a["description"] == "No Content" for a in answers), path
            assert operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith(
                "/ErrorBody"
            )
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1") and rule.endpoint != "docs.spec":
            path = rule.rule.replace("<", "{").replace(">", "}")
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                assert (path, method) in described


def test_every_reference_leads_somewhere(app: OpenAPI) -> None:
    document = openapi_document(app)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) - known == set()


def test_the_api_browser_is_served_from_here(anyone: FlaskClient) -> None:
    page = anyone.get("/api/docs").text
    assert "http" not in page
    for part in ("swagger/js/swagger-ui-bundle.js", "swagger/css/swagger-ui.css", "start.js"):
        with anyone.get(f"/api/docs/{part}") as answer:
            assert answer.status_code == 200
    assert anyone.get("/api/v1/openapi.json").json["openapi"].startswith("3.1")
