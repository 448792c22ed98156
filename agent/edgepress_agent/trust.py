"""Whether a want may be believed: everything is checked before anything is used.

Order of the checks (a failure stops there, each with its own words):

 1. size            at most WANT_MAX_BYTES, before anything is parsed
 2. form            Metadata[Targets] JSON with an ``ep_want``
 3. director        signature by the pinned root's ``timestamp`` role; the root itself has not expired
 4. time            neither expired, by max(this device's clock, the newest signed time it has seen)
 5. device          made for this one
 6. counter         not below the newest accepted one (equal: the retained message again)
    -- from here on the want is authentic: the director asks for it, so a failure is an answer to the
    director --
 7. release         the statement is signed by role ``targets``, has not expired, and names exactly this
    digest,
                    size and number of chunks, for this device's profile
 8. rollback        release counter not below that of the newest committed model
"""

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from edgepress_agent.errors import EnrolmentError, WantError
from edgepress_devices import protocol
from edgepress_devices.protocol import Statement, Want

_ARTIFACT_MAX_BYTES: Final = 2 << 30
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, DeserializationError, RecursionError)


@dataclass(frozen=True)
class Floors:
    """What this device has already seen; nothing older is believed."""

    want: int = 0
    release: int = 0
    time_s: int = 0  # Unix seconds


@dataclass(frozen=True)
class Accepted:
    """A want that passed every check. ``statement`` is None exactly where ``want.digest`` is."""

    counter: int
    want: Want
    expires_s: int  # Unix seconds: until then it may start an installation
    statement: Statement | None = None
    release: int = 0  # release counter


def load_root(data: bytes) -> Metadata[Root]:
    """The pinned TUF root, checked against its own keys. Raises EnrolmentError."""
    try:
        root = Metadata[Root].from_bytes(data)
        if not isinstance(root.signed, Root):
            raise EnrolmentError("the server's TUF root is metadata of another kind")
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (*_MALFORMED, RepositoryError) as error:
        raise EnrolmentError(f"the server's TUF root cannot be used: {error}") from error
    return root


def verify_want(
    payload: bytes, *, root: Metadata[Root], device: str, profile: str, floors: Floors, clock_s: int
) -> Accepted:
    """Check a ``down/want`` payload. ``clock_s``: this device's clock, Unix seconds. Raises WantError."""
    if len(payload) > protocol.WANT_MAX_BYTES:
        raise WantError(f"want of {len(payload)} bytes; at most {protocol.WANT_MAX_BYTES} are read")
    metadata, want = _parse(payload)
    now_s = max(clock_s, floors.time_s)
    _check_signed(metadata, root, "timestamp", "the want is not signed by the server's director key")
    _check_time(root.signed.expires, now_s, "the server's TUF root")
    _check_time(metadata.signed.expires, now_s, "the want")
    if want.device != device:
        raise WantError(f"the want is for device {want.device[:63]!r}, this one is {device!r}")
    counter = metadata.signed.version
    if counter < floors.want:
        raise WantError(f"the want has counter {counter}, but {floors.want} was seen already: it is a replay")
    expires_s = int(metadata.signed.expires.timestamp())
    if want.issued_at > expires_s:
        raise WantError("the want was issued after it expires")
    if want.digest is None:
        return Accepted(counter, want, expires_s)
    try:
        statement, release = _check_release(want, root, profile, now_s)
        if release < floors.release:
            raise WantError(
                f"release counter {release} is below {floors.release}, which this device has run: going back"
                " needs a new release"
            )
    except WantError as error:
        raise WantError(str(error), authentic=True, counter=counter) from error
    return Accepted(counter, want, expires_s, statement, release)


def _parse(payload: bytes) -> tuple[Metadata[Targets], Want]:
    try:
        metadata = Metadata[Targets].from_bytes(payload)
        if not isinstance(metadata.signed, Targets):
            raise WantError(f"the want is signed metadata of type {metadata.signed.type!r}")
        want = msgspec.convert(metadata.signed.unrecognized_fields.get("ep_want"), Want)
    except (*_MALFORMED, msgspec.MsgspecError) as error:
        raise WantError(f"the want cannot be read: {_short(error)}") from error
    if want.v != protocol.VERSION:
        raise WantError(f"want of protocol version {want.v}; this agent speaks {protocol.VERSION}: update it")
    return metadata, want


def _check_signed(metadata: Metadata[Targets], root: Metadata[Root], role: str, complaint: str) -> None:
    try:
        root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (ValueError, RepositoryError) as error:
        raise WantError(complaint) from error


def _check_time(expires: datetime, now_s: int, what: str) -> None:
    if expires.timestamp() <= now_s:
        raise WantError(
            f"{what} expired on {expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC (here it is"
            f" {datetime.fromtimestamp(now_s, UTC):%Y-%m-%d %H:%M}); nothing new is installed"
        )


def _check_release(want: Want, root: Metadata[Root], profile: str, now_s: int) -> tuple[Statement, int]:
    """The release statement inside the want and its release counter."""
    try:
        statement = Metadata[Targets].from_dict(copy.deepcopy(want.statement or {}))
        if not isinstance(statement.signed, Targets):
            raise WantError("the release statement is metadata of another kind")
    except _MALFORMED as error:
        raise WantError(f"the want carries no readable release statement: {_short(error)}") from error
    _check_signed(statement, root, Targets.type, "the release statement is not signed by the release key")
    _check_time(statement.signed.expires, now_s, "the release statement")
    said = _only_target(statement.signed, want.digest or "")
    if said.profile != profile:
        raise WantError(
            f"the artifact is released for profile {said.profile[:80]!r}, this device is a {profile!r}"
        )
    target = statement.signed.targets[want.digest or ""]
    if target.length != want.size or said.chunks != want.chunks or target.length > _ARTIFACT_MAX_BYTES:
        raise WantError("size or number of chunks in the want are not those of the release statement")
    if want.size <= 0 or want.chunks != protocol.chunk_count(want.size):
        raise WantError(f"{want.size} bytes do not make {want.chunks} chunks")
    return said, statement.signed.version


def _only_target(signed: Targets, digest: str) -> Statement:
    if list(signed.targets) != [digest]:
        raise WantError("the release statement is about another artifact than the want")
    target = signed.targets[digest]
    if target.hashes.get("sha256") != digest:
        raise WantError("the release statement's SHA-256 is not the artifact's digest")
    try:
        fields: dict[str, Any] = target.custom or {}
        return msgspec.convert(fields, Statement)
    except msgspec.MsgspecError as error:
        raise WantError(f"the release statement says too little: {_short(error)}") from error


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
