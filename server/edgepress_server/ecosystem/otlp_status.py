"""Where the push to an OpenTelemetry collector notes what it did, for /metrics and for itself."""

from typing import Final

FACT_READ: Final = "ecosystem.otlp_read"  # Unix ms: everything before is sent
FACT_STATUS: Final = "ecosystem.otlp"
