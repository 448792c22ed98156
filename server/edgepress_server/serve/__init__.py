"""``edgepress serve``: a supervisor that starts the role processes and starts again what dies."""

from edgepress_server.serve.supervisor import serve

__all__ = ["serve"]
