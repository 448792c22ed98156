"""The desk of this application, made when the first question comes."""

from __future__ import annotations

import threading

from flask import current_app

from edgepress_server.api.context import context
from edgepress_server.telemetry_query.desk import TelemetryDesk

EXTENSION = "edgepress_telemetry"
_making = threading.Lock()


def desk() -> TelemetryDesk:
    with _making:
        found = current_app.extensions.get(EXTENSION)
        if not isinstance(found, TelemetryDesk):
            found = current_app.extensions[EXTENSION] = TelemetryDesk(context().store)
            context().fan.on_close(found.close)
        return found
