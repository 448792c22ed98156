"""For programs on the device: the agent's model as a Python call.

from edgepress_agent import connect

agent = connect()
scores = agent.infer({"input": image})["output"]
"""

import http.client
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from edgepress_agent.errors import InferenceError
from edgepress_agent.oip import HEAD_LENGTH, decode_response, encode_request
from edgepress_agent.runtime import Arrays
from edgepress_agent.state_folder import default_folder

DEFAULT_PORT: Final = 8093
ENVIRONMENT: Final = "EDGEPRESS_AGENT_URL"


class Client:
    """One connection, kept open; calls from several threads take turns."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(
                f"{url!r} is no address of an agent: it looks like http://127.0.0.1:{DEFAULT_PORT}"
            )
        self.url = url
        self._lock = threading.Lock()
        self._connection = http.client.HTTPConnection(
            parts.hostname, parts.port or DEFAULT_PORT, timeout=timeout_s
        )
        self._model: str | None = None
        # `connect().infer(...)` in one line leaves nothing open.
        weakref.finalize(self, self._connection.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def infer(self, inputs: Mapping[str, ArrayLike], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the model that answers now on arrays by input name; all outputs by name, or only ``outputs``.

        Types and shapes must be the model's (see ``describe``). Raises InferenceError with the agent's
        words, ConnectionError when no agent answers.
        """
        feeds = {name: np.asarray(value) for name, value in inputs.items()}
        body, head_bytes = encode_request(feeds, outputs)
        headers = {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(head_bytes)}
        for model in (self._model, None):  # when another model has taken over, ask for its name once
            name = model or self.model()
            status, answer, head = self._request(
                "POST", f"/v2/models/{quote(name, safe='')}/infer", body, headers
            )
            if status == 404 and model is not None:
                continue
            if status != 200:
                raise InferenceError(status, _words(answer))
            self._model = name
            return decode_response(answer, head)
        raise InferenceError(404, "the model changes faster than it can be asked for")

    def model(self) -> str:
        """The name of the model that answers now. Raises InferenceError (503) when none is installed."""
        status, answer, _ = self._request("POST", "/v2/repository/index", b"{}", {})
        models = msgspec.json.decode(answer) if status == 200 else []
        if not models:
            raise InferenceError(503, "no model is installed on this device yet")
        return str(models[0]["name"])

    def describe(self) -> dict[str, Any]:
        """The Open Inference Protocol's model metadata: inputs and outputs with names, datatypes, shapes."""
        status, answer, _ = self._request("GET", f"/v2/models/{quote(self.model(), safe='')}", None, {})
        if status != 200:
            raise InferenceError(status, _words(answer))
        described: dict[str, Any] = msgspec.json.decode(answer)
        return described

    def status(self) -> dict[str, Any]:
        """What the agent does: its job's step and reason, what runs, whether it is connected."""
        described: dict[str, Any] = msgspec.json.decode(self._request("GET", "/status", None, {})[1])
        return described

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, int | None]:
        with self._lock:
            for last in (False, True):
                try:
                    self._connection.request(method, path, body, headers)
                    response = self._connection.getresponse()
                    head = response.headers.get(HEAD_LENGTH)
                    return response.status, response.read(), int(head) if head else None
                except (http.client.HTTPException, ConnectionError) as error:
                    # A kept connection that the agent closed meanwhile; inference may be asked for twice.
                    self._connection.close()
                    if last:
                        raise ConnectionError(
                            f"no agent answers at {self.url}: is edgepress-agent running? ({error})"
                        ) from error
        raise ConnectionError(f"no agent answers at {self.url}")


def find_agent(state: Path | None) -> str:
    """The running agent's address: $EDGEPRESS_AGENT_URL, or what it wrote to its state folder, or the
    default.
    """
    given = os.environ.get(ENVIRONMENT)
    if given and state is None:
        return given
    try:
        written = msgspec.json.decode((state or default_folder()).joinpath("http.json").read_bytes())
        return str(written["url"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return f"http://127.0.0.1:{DEFAULT_PORT}"


def _words(answer: bytes) -> str:
    try:
        return str(msgspec.json.decode(answer)["error"])
    except (msgspec.MsgspecError, KeyError, TypeError, IndexError):
        return answer[:200].decode("utf-8", "replace")
