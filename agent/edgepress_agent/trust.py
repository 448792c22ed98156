"""Whether a want may be believed: everything is checked before anything is used.

Order of the checks (a failure stops there, each with its own words):

 1. size            at most WANT_MAX_BYTES, before anything is parsed
 2. form            Metadata[Targets] JSON with an ``ep_want``
 3. director        signature by the pinned root's ``timestamp`` role; the root itself has not expired
 4. time            neither expired, by max(this device's clock, the newest signed time it has seen)
 5. device          made for this one
 6. counter         not below the newest accepted one (equal: the retained message again), and no number or
                    time that is only good to run this device's floors up
    -- from here on the want is authentic: the director asks for it, so a failure is an answer to the
    director --
 7. release         the statement is signed by role ``targets``, has not expired, and names exactly this
    digest,
                    size and number of chunks, for this device's profile
 8. rollback        release counter not below that of the newest committed model
 9. delta           where one is offered: a statement signed like the release's, of the same release counter,
                    for the same artifact and profile

A root that came since may have taken a key away: :func:`check_still_valid` asks again, with the same bytes.
"""

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from edgepress_agent.errors import EnrolmentError, WantError
from edgepress_devices import protocol
from edgepress_devices.protocol import DeltaStatement, Statement, Want

_ARTIFACT_MAX_BYTES: Final = 2 << 30
_MODEL_MAX_BYTES: Final = 8 << 30
_COUNTER_MAX: Final = 2**53  # what states can tell the server, protocol's Count
_ISSUED_MAX_S: Final = 4_102_444_800  # 2100-01-01: a floor of signed time that high is nobody's clock
_SPOKEN_MAX_S: Final = 253_402_300_799  # the end of the year 9999, the last that Python can write
Said = TypeVar("Said", Statement, DeltaStatement)
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, DeserializationError, RecursionError)


@dataclass(frozen=True)
class Floors:
    """What this device has already seen; nothing older is believed."""

    want: int = 0
    release: int = 0
    time_s: int = 0  # Unix seconds


@dataclass(frozen=True)
class AcceptedDelta:
    """A delta that the release key vouches for: with ``base`` it gives the model of the want's artifact."""

    digest: str
    size_bytes: int
    chunks: int
    base: str  # digest of the artifact whose decoded model it changes
    onnx_sha256: str  # of the decoded model that comes out
    onnx_bytes: int
    sealed_key: str  # not opened yet


@dataclass(frozen=True)
class Accepted:
    """A want that passed every check. ``statement`` is None exactly where ``want.digest`` is."""

    counter: int
    want: Want
    expires_s: int  # Unix seconds: until then it may start an installation
    statement: Statement | None = None
    release: int = 0  # release counter
    delta: AcceptedDelta | None = None
    payload: bytes = field(default=b"", repr=False, compare=False)  # what came, to be checked again


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
    if counter > _COUNTER_MAX:
        raise WantError(f"the want has a counter above {_COUNTER_MAX}")
    expires_s = int(metadata.signed.expires.timestamp())
    if want.issued_at > min(expires_s, _ISSUED_MAX_S):
        raise WantError("the want was issued after it expires, or after the year 2099")
    if want.digest is None:
        return Accepted(counter, want, expires_s, payload=payload)
    try:
        statement, release = _check_release(want, root, profile, now_s)
        if release < floors.release:
            raise WantError(
                f"release counter {release} is below {floors.release}, which this device has run: going back"
                " needs a new release"
            )
        delta = _check_delta(want, root, profile, now_s, release)
    except WantError as error:
        raise WantError(str(error), authentic=True, counter=counter) from error
    return Accepted(counter, want, expires_s, statement, release, delta, payload)


def check_still_valid(accepted: Accepted, root: Metadata[Root], profile: str) -> None:
    """Whether a want that is being followed would be believed under the newest root, too.

    Only signatures are asked about, not times: an accepted want may be finished after it has expired. What
    runs already is not taken away by this. Raises WantError, authentic where the director still stands by it.
    """
    metadata, want = _parse(accepted.payload)
    _check_signed(metadata, root, "timestamp", "the director key that signed this want is no longer valid")
    if want.digest is None:
        return
    try:
        _, release = _check_release(want, root, profile, now_s=0)
        _check_delta(want, root, profile, 0, release)
    except WantError as error:
        raise WantError(str(error), authentic=True, counter=accepted.counter) from error


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
            f" {datetime.fromtimestamp(min(now_s, _SPOKEN_MAX_S), UTC):%Y-%m-%d %H:%M}); nothing new is"
            " installed"
        )


def _check_release(want: Want, root: Metadata[Root], profile: str, now_s: int) -> tuple[Statement, int]:
    """The release statement inside the want and its release counter."""
    signed = _signed_statement(want.statement, root, now_s, "the release statement")
    said, length = _only_target(signed, want.digest or "", Statement, "the release statement")
    _check_profile(said.profile, profile)
    if length != want.size or said.chunks != want.chunks or length > _ARTIFACT_MAX_BYTES:
        raise WantError("size or number of chunks in the want are not those of the release statement")
    _check_size(want.size, want.chunks)
    return said, signed.version


def _check_delta(
    want: Want, root: Metadata[Root], profile: str, now_s: int, release: int
) -> AcceptedDelta | None:
    """The delta that the want offers, if it does, bound to the same release and artifact."""
    if want.delta is None:
        return None
    what = "the delta's statement"
    signed = _signed_statement(want.delta.statement, root, now_s, what)
    if signed.version != release:
        raise WantError(f"the delta is of release {signed.version}, the artifact of release {release}")
    digest = next(iter(signed.targets), "")
    said, length = _only_target(signed, digest, DeltaStatement, what)
    if not protocol.DIGEST.fullmatch(digest) or digest == want.digest:
        raise WantError(f"{what} names no artifact of its own")
    if said.full != want.digest:
        raise WantError("the delta makes another artifact than the want asks for")
    _check_profile(said.profile, profile)
    if length > _ARTIFACT_MAX_BYTES or not 0 < said.onnx_bytes <= _MODEL_MAX_BYTES:
        raise WantError("the delta, or the model that it makes, is larger than this device reads")
    _check_size(length, said.chunks)
    return AcceptedDelta(
        digest, length, said.chunks, said.base, said.onnx_sha256, said.onnx_bytes, want.delta.sealed_key
    )


def _signed_statement(
    document: dict[str, Any] | None, root: Metadata[Root], now_s: int, what: str
) -> Targets:
    try:
        statement = Metadata[Targets].from_dict(copy.deepcopy(document or {}))
        if not isinstance(statement.signed, Targets):
            raise WantError(f"{what} is metadata of another kind")
    except _MALFORMED as error:
        raise WantError(f"the want carries no readable {what.partition(' ')[2]}: {_short(error)}") from error
    _check_signed(statement, root, Targets.type, f"{what} is not signed by the release key")
    if statement.signed.version > _COUNTER_MAX:
        raise WantError(f"{what} has a release counter above {_COUNTER_MAX}")
    _check_time(statement.signed.expires, now_s, what)
    return statement.signed


def _only_target(signed: Targets, digest: str, kind: type[Said], what: str) -> tuple[Said, int]:
    """What the one target says, and its length."""
    if list(signed.targets) != [digest]:
        raise WantError(f"{what} is about another artifact than the want")
    target = signed.targets[digest]
    if target.hashes.get("sha256") != digest:
        raise WantError(f"{what} has a SHA-256 that is not the artifact's digest")
    try:
        fields: dict[str, Any] = target.custom or {}
        return msgspec.convert(fields, kind), target.length
    except msgspec.MsgspecError as error:
        raise WantError(f"{what} says too little: {_short(error)}") from error


def _check_profile(released: str, profile: str) -> None:
    if released != profile:
        raise WantError(
            f"the artifact is released for profile {released[:80]!r}, this device is a {profile!r}"
        )


def _check_size(size_bytes: int, chunks: int) -> None:
    if size_bytes <= 0 or chunks != protocol.chunk_count(size_bytes):
        raise WantError(f"{size_bytes} bytes do not make {chunks} chunks")


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
