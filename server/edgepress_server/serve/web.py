"""The web role: gunicorn with one worker process of many threads around the Flask application.

Threads, because each live page holds a connection; one process, because one thread per process watches the
store for all of them. What is only half there waits in front of them: `edgepress_server.serve.door`.
"""

from __future__ import annotations

from typing import Any, Final

from gunicorn.app.base import BaseApplication

from edgepress_server.serve.door import HEAD_MAX_BYTES, DoorWorker
from edgepress_server.serve.web_tls import WebTls
from edgepress_server.settings import Settings

THREADS: Final = 64


class WebServer(BaseApplication):  # type: ignore[misc]
    """gunicorn, set up by this class instead of by a file or a command line."""

    def __init__(self, settings: Settings, listener_fd: int) -> None:
        self._settings = settings
        self._listener_fd = listener_fd
        super().__init__()

    def load_config(self) -> None:
        if self._settings.tls:
            pair = (self._settings.pki_dir / "server.pem", self._settings.pki_dir / "server.key")
            DoorWorker.tls = WebTls(*pair).context
            # The door speaks TLS; gunicorn only has to know that requests came by https.
            self.cfg.set("certfile", str(pair[0]))
            self.cfg.set("keyfile", str(pair[1]))
        for name, value in {
            "bind": [f"fd://{self._listener_fd}"],
            "worker_class": DoorWorker,
            "workers": 1,
            "threads": THREADS,
            "timeout": 60,
            "graceful_timeout": 2,
            "keepalive": 15,
            "limit_request_line": 8190,
            "limit_request_fields": 100,
            "limit_request_field_size": HEAD_MAX_BYTES // 2,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "info",
            "control_socket_disable": True,
            "forwarded_allow_ips": "127.0.0.1,::1",
            "worker_exit": _close_streams,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application, in the worker process."""
        from edgepress_server.api.app import create_app

        return create_app(self._settings)


def _close_streams(_server: Any, worker: Any) -> None:
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions["edgepress"].fan.close()
