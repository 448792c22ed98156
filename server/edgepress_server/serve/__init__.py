"""``edgepress serve``: a supervisor that starts the role processes and starts again what dies."""

from edgepress_server.settings import Settings


def serve(settings: Settings) -> None:
    """Run the server until SIGTERM or Ctrl-C. Raises ServerError with a sentence when it cannot start."""
    # Imported here: each role is in this package too and must not carry what only the supervisor needs.
    from edgepress_server.serve.supervisor import run_server

    run_server(settings)
