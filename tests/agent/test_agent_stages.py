"""The stages of a request, what a queue turns away, and what is counted of each."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from small_models import scale_model

from edgepress_agent.errors import InferenceError
from edgepress_agent.meter import Counted
from edgepress_agent.oip import encode_request
from edgepress_agent.runtime import (
    DEFAULT_LIMITS,
    Model,
    RequestLimits,
    Runtime,
    open_session,
    runtime_errors,
)
from edgepress_agent.serve_http import CONNECTIONS_MAX, LocalServer
from edgepress_devices.histogram import quantile, total
from edgepress_devices.protocol import ErrorKinds, Histogram

ONES = np.ones((2, 4), np.float32)
DIGEST = "a" * 64


class Held:
    """A session whose runs wait for ``go_on``; ``fault`` is raised instead of an answer."""

    def __init__(self) -> None:
        self._session = open_session(scale_model(2.0), 1)
        self.go_on = threading.Event()
        self.go_on.set()
        self.began = threading.Semaphore(0)
        self.fault: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *arguments: Any) -> Any:
        self.began.release()
        assert self.go_on.wait(30)
        if self.fault is not None:
            raise self.fault
        return self._session.run(*arguments)


def held_model() -> tuple[Held, Model]:
    held = Held()
    return held, Model(held, name="digits", digest=DIGEST)  # type: ignore[arg-type]


def until(true: Callable[[], bool]) -> None:
    gate = threading.Event()
    for _ in range(3000):
        if true():
            return
        gate.wait(0.01)
    raise AssertionError("it did not happen within 30 s")


def how_many(histogram: Histogram | None) -> int:
    return 0 if histogram is None else total(histogram)


def runtime_error(name: str) -> Exception:
    return next(kind for kind in runtime_errors() if kind.__name__ == name)("[ONNXRuntimeError] no\nmore")


@pytest.mark.parametrize(
    ("error", "status", "kinds"),
    [
        ("InvalidArgument", 400, ErrorKinds(input=1)),
        ("Fail", 500, ErrorKinds(runtime=1)),
        ("RuntimeException", 500, ErrorKinds(runtime=1)),
        ("MemoryError", 500, ErrorKinds(runtime=1)),
    ],
)
def test_what_the_runtime_refuses_is_the_inputs_fault_or_its_own(
    error: str, status: int, kinds: ErrorKinds
) -> None:
    held, model = held_model()
    held.fault = runtime_error(error)
    with pytest.raises(InferenceError, match=r"\[ONNXRuntimeError\] no$") as caught:
        model.infer({"x": ONES})
    assert caught.value.status == status
    counted = model.meter.take(DIGEST)
    assert (counted.inferences, counted.errors, counted.error_kinds) == (0, 1, kinds)
    assert model.meter.errors_ever == 1, "it reached the model: its probation must hear of it"


@contextmanager
def busy(held: Held, model: Model) -> Iterator[None]:
    """One request is in the runtime and stays there."""
    held.go_on.clear()
    thread = threading.Thread(target=model.infer, args=({"x": ONES},))
    thread.start()
    assert held.began.acquire(timeout=30)
    try:
        yield
    finally:
        held.go_on.set()
        thread.join(30)


@pytest.mark.fault(
    "overload", "past the limit of waiting requests: 503 with Retry-After at once, counted as busy"
)
def test_a_request_too_many_is_turned_away_at_once_and_counted_as_busy() -> None:
    held, model = held_model()
    with busy(held, model):
        with pytest.raises(InferenceError, match="0 requests are waiting already") as caught:
            model.infer({"x": ONES}, limits=RequestLimits(waiting=0))
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    counted = model.meter.take(DIGEST)
    assert (counted.inferences, counted.error_kinds) == (1, ErrorKinds(busy=1))


@pytest.mark.fault("slow model", "a request whose time is up while it waits gets 504, and is counted once")
def test_a_request_that_waits_too_long_gives_up_and_never_runs() -> None:
    held, model = held_model()
    with busy(held, model), pytest.raises(InferenceError, match=r"waited 0\.05 s for its turn") as caught:
        model.infer({"x": ONES}, limits=RequestLimits(seconds=0.05))
    assert caught.value.status == 504
    counted = model.meter.take(DIGEST)
    assert (counted.inferences, counted.error_kinds) == (1, ErrorKinds(timeout=1))
    assert not held.began.acquire(blocking=False), "it ran all the same"


def test_an_answer_that_comes_too_late_is_a_timeout_and_no_inference() -> None:
    _, model = held_model()
    seen: list[Any] = []
    model.add_tap(lambda feeds, results: seen.append(feeds))
    with pytest.raises(InferenceError, match="later than the 0 s") as caught:
        model.infer({"x": ONES}, limits=RequestLimits(seconds=0.0))
    assert (caught.value.status, seen) == (504, [])
    counted = model.meter.take(DIGEST)
    assert (counted.inferences, counted.error_kinds, counted.latency_us) == (0, ErrorKinds(timeout=1), None)


def test_waiting_is_told_apart_from_running() -> None:
    held, model = held_model()
    with busy(held, model):
        waits = threading.Thread(target=model.infer, args=({"x": ONES},))
        waits.start()
        until(lambda: model.waiting == 1)
        threading.Event().wait(0.05)
    waits.join(30)
    counted = model.meter.take(DIGEST)
    assert counted.queue_us is not None and counted.latency_us is not None
    assert how_many(counted.queue_us) == how_many(counted.latency_us) == 2
    longest, shortest = (quantile(counted.queue_us, 1.0), quantile(counted.latency_us, 0.01))
    assert longest is not None and shortest is not None
    assert longest >= 45_000 > shortest


# --- over HTTP --------------------------------------------------------------------------------------------


class Served:
    def __init__(self, limits: RequestLimits = DEFAULT_LIMITS) -> None:
        self.held, self.model = held_model()
        self.runtime = Runtime()
        self.runtime.switch(self.model)
        self.http = LocalServer(0, self.runtime, dict, limits)
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "Served":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.go_on.set()
        self.http.shutdown()
        self._thread.join()
        self.http.server_close()

    def ask(self, body: bytes, head: int | None = None) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(self.http.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {} if head is None else {"Inference-Header-Content-Length": str(head)}
        connection.request("POST", "/v2/models/digits/infer", body, headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def counted(self) -> Counted:
        until(lambda: self.model.meter.pending == 0)
        [counted] = self.runtime.take()
        return counted


def test_every_stage_of_an_answered_request_is_timed() -> None:
    with Served() as served:
        for _ in range(3):
            assert served.ask(*encode_request({"x": ONES}, None))[0] == 200
        counted = served.counted()
    stages = (counted.pre_us, counted.queue_us, counted.latency_us, counted.post_us)
    assert [how_many(stage) for stage in stages] == [3, 3, 3, 3]
    assert (counted.inferences, counted.errors) == (3, 0)


@pytest.mark.attack("malformed request", "counted once as the input's fault, and the runtime never sees it")
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"inputs": []}', b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":["a"]}]}'],
)
def test_a_request_that_does_not_fit_is_counted_once(body: bytes) -> None:
    with Served() as served:
        assert served.ask(body)[0] == 400
        counted = served.counted()
    assert (counted.inferences, counted.error_kinds) == (0, ErrorKinds(input=1))
    assert (how_many(counted.queue_us), how_many(counted.latency_us)) == (0, 0)


def test_a_client_that_is_turned_away_hears_when_to_come_again() -> None:
    with Served(RequestLimits(waiting=0)) as served, busy(served.held, served.model):
        status, headers, body = served.ask(*encode_request({"x": ONES}, None))
    assert (status, headers["Retry-After"]) == (503, "1")
    assert "ask again" in json.loads(body)["error"]


def test_connections_beyond_the_limit_are_turned_away_and_counted() -> None:
    with Served() as served:
        address = urlsplit(served.http.url)
        idle = []
        for _ in range(CONNECTIONS_MAX):
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
            connection.request("GET", "/v2/health/live")
            assert connection.getresponse().read()
            idle.append(connection)
        status, headers, _ = served.ask(*encode_request({"x": ONES}, None))
        for connection in idle:
            connection.close()
        assert (status, headers["Retry-After"]) == (503, "1")
        assert served.counted().error_kinds == ErrorKinds(busy=1)
