"""What the installer needs of whatever runs models: ``engine.Engine`` on a device."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from edgepress_agent.shadow import Tally
from edgepress_agent.slots import SlotInfo
from edgepress_devices.protocol import Limits, Shadow, TrialReport

M = TypeVar("M")


class Beside(Protocol):
    """A shadow run under way, as ``shadow.ShadowRun``."""

    def tally(self) -> Tally: ...
    def stop(self) -> None: ...


class ModelEngine(Protocol[M]):
    """``artifact`` is the file in a slot; its neighbours are found from there (``slots.decoded_path``)."""

    def load(self, artifact: Path, info: SlotInfo) -> M:
        """A model that passed its trial before. Raises ModelRefusedError, NotNowError, OSError."""

    def try_model(
        self, artifact: Path, info: SlotInfo, limits: Limits, keep_on: Callable[[], None]
    ) -> tuple[M, TrialReport]:
        """Load and check. Raises ModelRefusedError, NotNowError, OSError, and what ``keep_on`` raises."""

    def start_shadow(self, artifact: Path, model: M, shadow: Shadow) -> Beside | None:
        """Let it answer beside the model that answers now; None where none does. Raises as ``try_model``."""

    def apply_delta(
        self, delta: Path, target: BinaryIO, info: SlotInfo, base: Path, base_info: SlotInfo
    ) -> None:
        """Write the model that comes of it. Raises ModelRefusedError, NotNowError, OSError."""

    def activate(self, model: M) -> None:
        """It answers from here on."""

    def deactivate(self) -> None:
        """No model answers from here on."""

    def served(self) -> tuple[int, int]:
        """Requests that the model which answers now answered, and that it failed, since it was activated."""
