"""The REST API as the command line sees it: one class, one kind of error."""

import hashlib
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import click
import urllib3

from .authority import context_for

DEFAULT_URL = "http://127.0.0.1:8080"


class Readable(Protocol):
    """What an upload reads from; a file, for example."""

    def read(self, size: int = -1, /) -> bytes: ...


class ApiFailure(click.ClickException):
    """The server refused or cannot be reached; the message says what to do, ``code`` is the API's."""

    def __init__(self, message: str, code: str = "unreachable", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def credentials_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "edgepress" / "credentials.json"


def saved_credentials() -> dict[str, str]:
    """``{server URL: token}`` as ``edgepress login`` wrote it; empty when there is none."""
    try:
        saved = json.loads(credentials_path().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"{credentials_path()} cannot be read ({error}); delete it and run `edgepress login`"
        ) from error
    return {str(k): str(v) for k, v in saved.items()} if isinstance(saved, dict) else {}


def default_url() -> str:
    """Where `edgepress login` was last, so that nobody names a server twice. Raises ClickException."""
    return next(reversed(saved_credentials()), DEFAULT_URL)


def save_credentials(url: str, token: str) -> Path:
    path = credentials_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    others = {known: kept for known, kept in saved_credentials().items() if known != url}
    everything = {**others, url: token}  # the newest last, see `default_url`
    aside = path.with_suffix(".new")
    aside.touch(mode=0o600)
    aside.write_text(json.dumps(everything, indent=1))
    aside.replace(path)
    return path


class Api:
    """One server and one token. Paths are relative to ``/api/v1``; answers are decoded JSON."""

    def __init__(self, url: str, token: str | None, ca: str | None = None) -> None:
        """``ca``: PEM of the authority to trust; None: what `edgepress login` kept, else the system's."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.BadParameter(
                f"{url!r} is no web address; give one such as {DEFAULT_URL}", param_hint="--url"
            )
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A restarted server refuses connections for a moment; reads are safe to repeat, writes are not.
        retry = urllib3.Retry(total=3, backoff_factor=0.3, allowed_methods={"GET"}, status=0, redirect=0)
        self._ca = ca
        self._pool = urllib3.PoolManager(
            retries=retry,
            timeout=urllib3.Timeout(connect=5, read=300),
            ssl_context=context_for(self.url, ca) if parts.scheme == "https" else None,
        )

    def sign_in(self, name: str, password: str) -> "Api":
        """Trade name and password for a browser-like session; use it once, to make a token."""
        response = self._send(
            "POST",
            "/session",
            {},
            {"Content-Type": "application/json"},
            json.dumps({"name": name, "password": password}).encode(),
        )
        session = Api(self.url, None, self._ca)
        cookie = response.headers.get("Set-Cookie", "").partition(";")[0]
        session._headers = {"Cookie": cookie, "X-CSRF-Token": self._decode(response)["csrf"]}
        return session

    def get(self, path: str, **query: Any) -> Any:
        return self._json("GET", path, query=query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self._json("POST", path, body=body, query=query)

    def put(self, path: str, body: Any) -> Any:
        return self._json("PUT", path, body=body)

    def patch(self, path: str, body: Any) -> Any:
        return self._json("PATCH", path, body=body)

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def upload(
        self,
        path: str,
        stream: "Readable",
        size_bytes: int,
        *,
        content_type: str = "application/octet-stream",
        **query: Any,
    ) -> Any:
        """POST ``size_bytes`` raw bytes from ``stream`` without holding them in memory."""
        headers = {"Content-Type": content_type, "Content-Length": str(size_bytes)}
        return self._decode(self._send("POST", path, query, headers, stream))

    def download(self, path: str, **query: Any) -> Iterator[bytes]:
        response = self._send("GET", path, query, {}, None)
        try:
            yield from response.stream(1 << 16)
        except urllib3.exceptions.HTTPError as error:
            raise self._broke_off() from error

    def artifact(self, digest: str) -> Iterator[bytes]:
        """The bytes of an artifact. Raises ApiFailure at their end when their SHA-256 is another."""
        hashed = hashlib.sha256()
        for block in self.download(f"/artifacts/{digest}/file"):
            hashed.update(block)
            yield block
        if hashed.hexdigest() != digest:
            raise ApiFailure(
                f"the file of artifact {digest[:12]} is damaged, most likely on the server's disk. Restore "
                "it there from a back-up, or compress again.",
                "damaged",
            )

    def _broke_off(self) -> ApiFailure:
        return ApiFailure(f"the connection to {self.url} broke off before the answer was complete; try again")

    def _json(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        return self._decode(self._send(method, path, query or {}, headers, data))

    def _send(
        self, method: str, path: str, query: dict[str, Any], headers: dict[str, str], body: Any
    ) -> urllib3.BaseHTTPResponse:
        present = {k: v for k, v in query.items() if v is not None}
        url = f"{self.url}/api/v1{quote(path)}" + (f"?{urlencode(present)}" if present else "")
        try:
            response = self._pool.request(
                method, url, body=body, headers={**self._headers, **headers}, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiFailure(
                f"no edgepress server answers at {self.url} ({_in_words(error)}). Start one with "
                "`edgepress serve`, or name yours with --url or EDGEPRESS_URL."
            ) from error
        if response.status >= 400:
            raise self._failure(response)
        return response

    def _failure(self, response: urllib3.BaseHTTPResponse) -> ApiFailure:
        try:
            raw = response.read(65536)
        except urllib3.exceptions.HTTPError:
            return self._broke_off()
        try:
            error = json.loads(raw)["error"]
            message, code = str(error["message"]), str(error["code"])
        except (ValueError, KeyError, TypeError):
            message, code = f"{self.url} answered {response.status}; is it an edgepress server?", "unknown"
            if b"https://" in raw and self.url.startswith("http://"):
                message = f"{self.url} speaks TLS: name it with https://"
        if response.status == 401 and code != "wrong_login":
            message += (
                f" Run `edgepress login --url {self.url}`, or give a token with --token or EDGEPRESS_TOKEN."
            )
        return ApiFailure(message, code, response.status)

    def _decode(self, response: urllib3.BaseHTTPResponse) -> Any:
        try:
            raw = response.read()
        except urllib3.exceptions.HTTPError as error:
            raise self._broke_off() from error
        if not raw:
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise ApiFailure("the answer is not JSON; is this an edgepress server?") from error


def _in_words(error: Exception) -> str:
    """Why nobody answers, for a person: 'connection refused' rather than a class name."""
    reason = getattr(error, "reason", None) or error
    kinds = urllib3.exceptions
    if isinstance(reason, kinds.NameResolutionError):
        return "there is no host of that name"
    if isinstance(reason, kinds.SSLError):
        return (
            f"its TLS is not trusted: {_tls_words(reason)}; where it has an authority of its own, run "
            "`edgepress login --url URL --ca ca.pem` or --fingerprint once, as it says at its start"
        )
    cause: BaseException | None = reason
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    if isinstance(reason, kinds.TimeoutError):  # NewConnectionError is one too, with its OSError as the cause
        return "it did not answer in time"
    return "the connection was closed"


def _tls_words(error: BaseException) -> str:
    """OpenSSL's own words, without its file and line."""
    inner = error.args[0] if error.args and isinstance(error.args[0], ssl.SSLError) else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return inner.verify_message
    if isinstance(inner, ssl.SSLError) and inner.reason == "WRONG_VERSION_NUMBER":
        return "it speaks plain http:// there"
    return str(getattr(inner, "reason", None) or "the handshake failed").lower().replace("_", " ")
