"""What runs on a device: it converges to the desired state, runs the model and reports.

Programs on the device use :func:`connect`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress_devices import __version__

if TYPE_CHECKING:
    from edgepress_agent.client import Client

__all__ = ["__version__", "connect"]


def connect(url: str | None = None, *, state: Path | None = None, timeout_s: float = 30.0) -> "Client":
    """The agent on this device, for inference: ``connect().infer({"input": array})``.

    ``url`` None: the running agent of the state folder ``state`` (None: the user's), else port 8093.
    """
    from edgepress_agent.client import Client, find_agent

    return Client(url or find_agent(state), timeout_s=timeout_s)
