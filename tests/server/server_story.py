"""Who acts in the stories of the server: a clock that tests move, and people with a browser."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI

from edgepress_server.store import Store
from edgepress_server.store.people import Role

START_MS = 1_800_000_000_000  # 2027-01-15, a whole second


class Clock:
    """Unix milliseconds that only a test moves."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms

    def forward(self, ms: int) -> None:
        self.ms += ms


class Browser:
    """A person signed in with a cookie, who sends the CSRF token along."""

    def __init__(self, client: FlaskClient, name: str, password: str) -> None:
        self.client = client
        answer = client.post("/api/v1/session", json={"name": name, "password": password})
        assert answer.status_code == 200, answer.text
        self.headers = {"X-CSRF-Token": answer.json["csrf"]}

    def get(self, path: str, status: int = 200) -> Any:
        return self._checked(self.client.get(f"/api/v1{path}"), status)

    def post(self, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        answer = self.client.post(f"/api/v1{path}", json=body, headers=self.headers, **more)
        return self._checked(answer, status)

    def send(self, path: str, data: bytes, status: int = 201) -> Any:
        answer = self.client.post(f"/api/v1{path}", data=data, headers=self.headers)
        return self._checked(answer, status)

    def patch(self, path: str, body: Any, status: int = 200) -> Any:
        return self._checked(self.client.patch(f"/api/v1{path}", json=body, headers=self.headers), status)

    def delete(self, path: str, status: int = 200) -> Any:
        return self._checked(self.client.delete(f"/api/v1{path}", headers=self.headers), status)

    def refused(self, answer: Any) -> str:
        """The code of an error answer; its message is a sentence."""
        error = answer["error"]
        assert " " in error["message"] and error["message"].endswith("."), error
        return str(error["code"])

    @staticmethod
    def _checked(answer: Any, status: int) -> Any:
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json


def sign_in(app: OpenAPI, store: Store, role: Role) -> Browser:
    store.people.add(role, f"password of {role}", role)
    return Browser(app.test_client(), role, f"password of {role}")
