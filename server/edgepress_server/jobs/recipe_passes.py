"""What the passes of the shipped recipes do, asked once of a process of its own: passes need torch, which the
server itself does without.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from functools import cache
from typing import Any

from edgepress_server.errors import ServerError
from edgepress_server.jobs.child_process import child_environment

log = logging.getLogger(__name__)

TIMEOUT_S = 120


@cache
def recipe_passes() -> dict[str, list[dict[str, Any]]]:
    """Recipe -> its passes with their options (edgepress_compression.recipe_options). Raises ServerError."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgepress_compression.recipe_options"],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
            env=child_environment(threads=1),
            stdin=subprocess.DEVNULL,
        )
        found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, ValueError) as error:
        log.error("recipes could not be read: %s %s", error, getattr(error, "stderr", b"") or b"")
        raise ServerError(
            "recipes_unreadable",
            "The recipes' options cannot be read on the server; its log says why. Reinstall edgepress there.",
        ) from error
    return found
