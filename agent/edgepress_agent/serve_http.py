"""The model on local HTTP: the Open Inference Protocol v2 on 127.0.0.1.

    GET  /v2                          who this is
    GET  /v2/health/live, /ready      200, or 503 while no model answers
    GET  /v2/models/{m}[/ready]       names, types and shapes of inputs and outputs
    POST /v2/models/{m}/infer         JSON, or JSON with binary tensors
    POST /v2/repository/index         the models there are: the one, or none
    GET  /status                      what the agent does (not part of the protocol)

``/versions/{v}`` may stand after a model's name; its version is the first 12 characters of the artifact's
digest.
"""

import errno
import logging
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from edgepress_agent import __version__
from edgepress_agent.errors import InferenceError, PortInUseError
from edgepress_agent.runtime import DEFAULT_LIMITS, RETRY_AFTER_S, Model, RequestLimits, Runtime, TensorSpec

CONNECTIONS_MAX: Final = 64
BODY_MAX_BYTES: Final = 64 << 20  # larger is refused unread
IDLE_SECONDS: Final = 60.0  # a silent keep-alive connection is closed
_LOCAL_HOSTS: Final = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?")
_MODEL: Final = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<rest>/ready|/infer)?"
)
_HEAD_LENGTH: Final = "Inference-Header-Content-Length"

_NO_PLACE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    % RETRY_AFTER_S
)

log = logging.getLogger(__name__)


class LocalServer(socketserver.ThreadingMixIn, HTTPServer):
    """Bound to the loopback interface only. ``port`` 0 = any free one. Raises PortInUseError."""

    daemon_threads = True
    block_on_close = False  # stopping does not wait for idle connections
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        runtime: Runtime,
        status: Callable[[], dict[str, Any]],
        limits: RequestLimits = DEFAULT_LIMITS,
    ) -> None:
        self.runtime = runtime
        self.status = status
        self.limits = limits
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise PortInUseError(
                f"port {port} is {'taken' if error.errno == errno.EADDRINUSE else 'not allowed here'}:"
                " choose another with --http-port, or 0 for any free one"
            ) from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            model = self.runtime.model()
            if model is not None:
                model.meter.failed("busy")
            try:
                request.sendall(_NO_PLACE)
            except OSError:
                pass  # it went away: that is what was wanted
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a local connection ended early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: LocalServer
    protocol_version = "HTTP/1.1"
    server_version = f"edgepress-agent/{__version__}"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, handle: Callable[[], None]) -> None:
        try:
            # A web page in a browser on this device could reach us through a name of its own (DNS rebinding).
            if not _LOCAL_HOSTS.fullmatch(self.headers.get("Host", "127.0.0.1")):
                raise InferenceError(403, "this address is only for programs on this device")
            handle()
        except InferenceError as error:
            self.close_connection = True  # the body may be unread
            self._send(error.status, {"error": str(error)}, retry_after_s=error.retry_after_s)

    def _get(self) -> None:
        model = self.server.runtime.model()
        match self.path:
            case "/v2":
                extensions = ["binary_tensor_data", "model_repository"]
                self._send(200, {"name": "edgepress-agent", "version": __version__, "extensions": extensions})
            case "/v2/health/live":
                self._send(200, {"live": True})
            case "/v2/health/ready":
                self._send(200 if model else 503, {"ready": model is not None})
            case "/status":
                self._send(200, self.server.status())
            case _:
                named, rest = self._named_model()
                if rest == "/infer":
                    raise InferenceError(405, "inference is a POST request")
                self._send(200, {"ready": True} if rest == "/ready" else _describe(named))

    def _post(self) -> None:
        if self.path == "/v2/repository/index":
            self._body()
            model = self.server.runtime.model()
            self._send(200, [] if model is None else [_index_entry(model)])
            return
        model, rest = self._named_model()
        if rest != "/infer":
            raise InferenceError(405, "only .../infer takes POST requests")
        self._infer(model)

    def _infer(self, model: Model) -> None:
        from edgepress_agent import oip  # numpy comes with the first request

        meter = model.meter
        with meter.request():
            came_s, began_ns = time.monotonic(), time.perf_counter_ns()
            try:
                request = oip.decode_request(self._body(), self._head_bytes())
            except InferenceError:
                meter.failed("input")
                raise
            meter.pre_us.record((time.perf_counter_ns() - began_ns) / 1000)
            outputs = model.infer(request.feeds, request.outputs, limits=self.server.limits, came_s=came_s)
            began_ns = time.perf_counter_ns()
            body, head_bytes = oip.encode_response(
                request, outputs, model=model.name, version=_version(model)
            )
            self._send_bytes(200, body, head_bytes)
            meter.post_us.record((time.perf_counter_ns() - began_ns) / 1000)

    def _named_model(self) -> tuple[Model, str]:
        match = _MODEL.fullmatch(self.path)
        if match is None:
            raise InferenceError(
                404, f"nothing is at {self.path[:200]}; this speaks the Open Inference Protocol v2"
            )
        starting = self.server.runtime.starting
        model = self.server.runtime.model()
        if model is None and starting:
            raise InferenceError(503, "the agent is starting and loads its model; ask again in a moment")
        if model is None:
            raise InferenceError(503, "no model is installed yet; push one to this device from the server")
        if unquote(match["name"]) != model.name or match["version"] not in (None, _version(model)):
            raise InferenceError(
                404, f"no such model; {model.name!r} runs here, in version {_version(model)}"
            )
        return model, match["rest"] or ""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 12:
            raise InferenceError(411, "send the body with a Content-Length")
        if int(length) > BODY_MAX_BYTES:
            raise InferenceError(413, f"{length} bytes; at most {BODY_MAX_BYTES} are read")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise InferenceError(400, f"the body ended after {len(body)} of {length} bytes")
        return body

    def _head_bytes(self) -> int | None:
        given = self.headers.get(_HEAD_LENGTH)
        if given is None:
            return None
        if not given.isdecimal() or len(given) > 12:
            raise InferenceError(400, f"{_HEAD_LENGTH} is no number")
        return int(given)

    def _send(self, status: int, content: Any, *, retry_after_s: int | None = None) -> None:
        self._send_bytes(status, msgspec.json.encode(content), None, retry_after_s)

    def _send_bytes(
        self, status: int, body: bytes, head_bytes: int | None, retry_after_s: int | None = None
    ) -> None:
        self.send_response(status)
        binary = head_bytes is not None
        self.send_header("Content-Type", "application/octet-stream" if binary else "application/json")
        self.send_header("Content-Length", str(len(body)))
        if head_bytes is not None:
            self.send_header(_HEAD_LENGTH, str(head_bytes))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself (a malformed request line, an unknown method), as JSON too."""
        self.close_connection = True
        self._send(code, {"error": message or explain or "the request cannot be read"})

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _version(model: Model) -> str:
    return model.digest[:12]


def _index_entry(model: Model) -> dict[str, Any]:
    return {"name": model.name, "version": _version(model), "state": "READY", "reason": ""}


def _describe(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": [_version(model)],
        "platform": "onnxruntime_onnx",
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
