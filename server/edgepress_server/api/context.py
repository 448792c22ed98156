"""What every view needs, hung on the Flask app: the store, the settings, the keys, the live fan-out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from flask import current_app

from edgepress_server.api.challenges import Challenges
from edgepress_server.api.rate_limit import FailureLimit
from edgepress_server.api.request_limit import RequestLimit
from edgepress_server.api.stream import EventFan
from edgepress_server.errors import StoreError
from edgepress_server.predict import ExecutedModels
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.trust.keys import Keys, create_keys_if_missing, keys_changed

EXTENSION = "edgepress"

log = logging.getLogger(__name__)


@dataclass
class RequestLimits:
    """Of each person; of each address for those who are nobody."""

    reads: RequestLimit = field(default_factory=lambda: RequestLimit(6000, 6000))
    writes: RequestLimit = field(default_factory=lambda: RequestLimit(600, 1200))
    refused: RequestLimit = field(default_factory=lambda: RequestLimit(600, 1200))


@dataclass
class Context:
    settings: Settings
    store: Store
    fan: EventFan
    login_failures: FailureLimit = field(default_factory=lambda: FailureLimit(10, 300.0))  # of an address
    # Of a name, guessed at from many addresses; higher, so that it takes effort to lock somebody out.
    name_failures: FailureLimit = field(default_factory=lambda: FailureLimit(100, 300.0))
    enrol_failures: FailureLimit = field(default_factory=lambda: FailureLimit(20, 300.0))
    request_limits: RequestLimits = field(default_factory=RequestLimits)
    challenges: Challenges = field(default_factory=Challenges)
    executed: ExecutedModels = field(init=False)
    _keys: Keys | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.executed = ExecutedModels(self.store.data_dir / "executed")

    @property
    def keys(self) -> Keys:
        """Read when first needed, and again when a person has changed them. Raises StoreError."""
        if self._keys is None or keys_changed(self.settings.keys_dir, self._keys):
            try:
                self._keys = create_keys_if_missing(self.settings.keys_dir)
            except StoreError as error:  # encrypted anew: those of before are good until the next start
                if self._keys is None:
                    raise
                log.warning("the keys cannot be read now, going on with those of before: %s", error.message)
        return self._keys


def context() -> Context:
    found: Context = current_app.extensions[EXTENSION]
    return found
