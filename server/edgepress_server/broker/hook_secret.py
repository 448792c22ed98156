"""The secret by which an external broker shows that it may ask this server."""

from __future__ import annotations

from edgepress_server.broker.mosquitto import draw_once
from edgepress_server.settings import Settings


def hook_secret(settings: Settings) -> str:
    """Drawn at the first call, then always the same. Raises StoreError."""
    return draw_once(settings.broker_dir / "hook-secret")
