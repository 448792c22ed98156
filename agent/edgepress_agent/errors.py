"""Every error that the agent raises on purpose, as one tree.

::

    AgentError
    ├── StateFolderError      the state folder cannot be used
    │   └── StateFolderInUseError  another agent uses it
    ├── EnrolmentError        enrolling did not work, or there is no usable enrolment
    ├── PortInUseError        the local HTTP port is taken
    ├── WantError             a desired state that is not believed; ``authentic`` says how far it was
    ├── RootError             a successor of the TUF root that is not believed
    ├── ChunkDamagedError     a chunk that does not open with the content key
    ├── ModelRefusedError     this model must not run here: it is judged, and not tried again
    ├── NotNowError           something around us is missing (disk, memory); it is tried again later
    ├── StoppedError          the agent was told to stop in the middle of its work
    ├── ProfilingError        a measurement of this device that gave nothing
    └── InferenceError        a request that cannot be answered; ``status`` is its HTTP status

Messages are for people: what is wrong and what to do about it.
"""

from edgepress_devices.protocol import TrialReport


class AgentError(Exception):
    """Base; its text may be shown to a person as it is."""


class StateFolderError(AgentError):
    """The state folder cannot be read or written, or is in use."""


class StateFolderInUseError(StateFolderError):
    """Another agent uses the state folder."""


class EnrolmentError(AgentError):
    """Enrolment failed, or the device is not enrolled."""


class PortInUseError(AgentError):
    """Another program listens on the local HTTP port."""


class WantError(AgentError):
    """A desired state that must not be followed.

    ``authentic``: the director signed it for this device with a new counter, so only what it asks for is
    wrong.
    """

    def __init__(self, reason: str, *, authentic: bool = False, counter: int = 0) -> None:
        super().__init__(reason)
        self.authentic = authentic
        self.counter = counter


class RootError(AgentError):
    """A new TUF root that does not follow the one that this device trusts."""


class ChunkDamagedError(AgentError):
    """The bytes of a chunk are not those that the server encrypted."""


class ModelRefusedError(AgentError):
    """The model must not run on this device; the text says why, ``report`` what its trial measured."""

    def __init__(self, reason: str, report: TrialReport | None = None) -> None:
        super().__init__(reason)
        self.report = report


class NotNowError(AgentError):
    """It would work with more disk, memory or luck; the text says what is missing."""


class StoppedError(AgentError):
    """The agent is stopping."""


class ProfilingError(AgentError):
    """Nothing was measured; the text says why."""


class InferenceError(AgentError):
    """A request that cannot be answered; ``retry_after_s``: when it may be asked again."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
