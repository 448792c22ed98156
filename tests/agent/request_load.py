"""Asks a local model at a steady rate, whether answers come or not: request_load.py URL MODEL RATE SECONDS.

A process of its own, so that it shares no interpreter with the server. Requests have their times beforehand
(open loop), so a server that stands still for a moment is asked all the same, and latency counts from that
time. Prints one JSON list: [seconds since the start, milliseconds, HTTP status or null where no answer came].
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import numpy as np

from edgepress_agent.oip import HEAD_LENGTH, encode_request

CONNECTIONS = 8


@dataclass(frozen=True)
class Answer:
    at_s: float  # when it was due, since the first
    ms: float  # from then until it was read
    status: int | None  # None = lost: no answer came


class RequestLoad:
    """A running load; ``url`` as ``LocalServer.url``."""

    def __init__(self, url: str, model: str, *, rate_s: float, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, url, model, str(rate_s), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begins\n"
        self._rows = ""
        self._reader = threading.Thread(target=self._read)  # a pipe is too short for them all
        self._reader.start()

    def _read(self) -> None:
        self._rows, _ = self._process.communicate(timeout=120)

    @property
    def runs(self) -> bool:
        return self._reader.is_alive()

    def answers(self) -> list[Answer]:
        """Once it is over."""
        self._reader.join()
        return [Answer(*row) for row in json.loads(self._rows)]


def _main(url: str, model: str, rate_s: float, seconds: float) -> None:
    total = int(rate_s * seconds)
    rows: list[tuple[float, float, int | None]] = [(0.0, 0.0, None)] * total
    body, head_bytes = encode_request({"x": np.ones((1, 4), np.float32)}, None)
    headers = {HEAD_LENGTH: str(head_bytes), "Content-Type": "application/octet-stream"}
    path = f"/v2/models/{quote(model)}/infer"
    ready = threading.Barrier(CONNECTIONS + 1)
    began = [0.0]

    def ask(first: int) -> None:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        connection.connect()
        ready.wait()
        ready.wait()
        for n in range(first, total, CONNECTIONS):
            due_s = began[0] + n / rate_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            status = None
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request connects again; this one is lost
            rows[n] = due_s - began[0], 1000 * (time.monotonic() - due_s), status

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    ready.wait()
    print("begins", flush=True)
    began[0] = time.monotonic()
    ready.wait()
    for thread in threads:
        thread.join()
    print(json.dumps(rows))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
