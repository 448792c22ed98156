"""The wire protocol: topics and messages between the server and the devices, version 1.

Topics (``ep/1/...``; the 1 is the protocol version)::

    d/{device}/up/state       device -> server   retained, and the device's will   State
    d/{device}/up/telemetry   device -> server   QoS 1                             TelemetryBatch
    d/{device}/up/need        device -> server   QoS 1                             Need
    d/{device}/down/want      server -> device   retained                          signed Want, see below
    d/{device}/down/ack       server -> device   not retained                      Ack
    c/{digest}/{n}            server -> all      retained while a rollout needs it one encrypted chunk
    server/state              server -> all      retained, and the server's will   ServerState
    server/root/{n}           server -> all      retained                          version n of the TUF root
    server/presence           server -> servers  not retained                      who else serves here?
    server/mark               server -> itself   retained                          what the broker has kept

Control messages are JSON, telemetry is msgpack arrays, a chunk is raw bytes.

A chunk (``digest`` = SHA-256 of the whole artifact, lower-case hex)::

    plaintext   artifact[n * CHUNK_PLAIN_BYTES : (n + 1) * CHUNK_PLAIN_BYTES]
    nonce       n as 12 bytes, big endian: a content key serves one artifact, so (key, n) never
                encrypts two different plaintexts and a republished chunk has the same bytes
    aad         the ASCII text "{digest}/{n}/{chunks}"
    payload     AES-256-GCM(key, nonce, plaintext, aad): ciphertext and a 16-byte tag

A want is python-tuf ``Metadata[Targets]`` JSON, signed by the director key (TUF role ``timestamp`` of the
pinned root), at most ``WANT_MAX_BYTES``. ``signed.version`` is the device's want counter and only grows;
``signed.expires`` bounds it; ``signed.targets`` is empty; ``signed["ep_want"]`` is a :class:`Want`. Its
``statement`` is again ``Metadata[Targets]`` JSON, signed by the release key (TUF role ``targets``):
``version`` is the release counter and ``targets`` has exactly one entry named by the artifact's digest, with
length, hashes and ``custom`` = :class:`Statement`. Canonical JSON knows no floats: all numbers are integers.

``Want.sealed_key`` is base64 of HPKE (RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base
mode) of the 32-byte content key for the device's public key, ``info`` = :func:`seal_info`, aad empty.

``Want.delta`` offers the same model as a delta against an artifact that the device runs. Its ``statement``
is signed by the release key like the release's, with the same counter; its one target is the delta, and
``custom`` is a :class:`DeltaStatement`. Delta chunks are those of an artifact with a content key of its own.
The release's statement always comes along, so that the full artifact can be fetched instead.

Over HTTPS the same chunks stand one after the other: ``GET {server}/api/v1/chunks/{digest}`` answers byte
ranges of all payloads joined, chunk n at ``n * CHUNK_MAX_BYTES``, for ``Authorization: Bearer {ticket}``.

A root follows its predecessor as TUF says (specification, 5.3): version n + 1 is signed by a threshold of the
keys of n and of its own. ``ServerState.roots`` names the newest.

``Want.profiling`` asks a device to measure itself or the artifact it runs; ``State.profiling`` says how far
that is, and the report comes as telemetry. The rules stand in ``profiling_messages``. Peers that do not know
these fields skip them.
"""

import math
import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from edgepress_devices.delivery_messages import (
    Delivery,
    DeltaOffer,
    DeltaStatement,
    Limits,
    Shadow,
    Statement,
    TrialReport,
)
from edgepress_devices.model_messages import (
    INPUTS_PER_BATCH_MAX,
    FeatureDrift,
    InputSample,
    ModelStats,
    Sampling,
)
from edgepress_devices.profiling_messages import (
    REPORTS_PER_BATCH_MAX,
    KernelTime,
    NetTime,
    ProfilingJob,
    ProfilingReport,
    ProfilingState,
    SkippedNet,
)
from edgepress_devices.wire_types import Count, Digest, Finite, Reading, Text

__all__ = [  # what of the other files is the protocol's own; its names below are public as they are
    "Count",
    "Delivery",
    "DeltaOffer",
    "DeltaStatement",
    "Digest",
    "FeatureDrift",
    "Finite",
    "InputSample",
    "KernelTime",
    "Limits",
    "ModelStats",
    "NetTime",
    "ProfilingJob",
    "ProfilingReport",
    "ProfilingState",
    "Reading",
    "Sampling",
    "Shadow",
    "SkippedNet",
    "Statement",
    "Text",
    "TrialReport",
]

PREFIX: Final = "ep/1"
VERSION: Final = 1

CHUNK_MAX_BYTES: Final = 64_000  # AWS IoT caps a packet at 128 KB, the lowest of the brokers we serve
GCM_TAG_BYTES: Final = 16
CHUNK_PLAIN_BYTES: Final = CHUNK_MAX_BYTES - GCM_TAG_BYTES
WANT_MAX_BYTES: Final = 4096
CONTROL_MAX_BYTES: Final = 16_384  # state, ack, server state: larger is refused unread
NEED_MAX_BYTES: Final = 180_000  # a bitmap of 1,000,000 chunks in base64 and what stands around it
TELEMETRY_MAX_BYTES: Final = 262_144  # a batch; larger is quarantined by its size alone
FETCH_WINDOW: Final = 16  # literal chunk topics a device subscribes to at a time: its flow control

DEVICE_NAME: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)  # a DNS label: safe in topics, URLs and files
DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ProtocolError(ValueError):
    """A message or a topic that is not of this protocol; the text says what is wrong with it."""


# --- topics -----------------------------------------------------------------------------------------------


def check_device(device: str) -> str:
    if not DEVICE_NAME.fullmatch(device):
        raise ProtocolError(
            f"{device[:80]!r} is no device name: use 1 to 63 of a-z, 0-9 and '-', not '-' at either end"
        )
    return device


def check_digest(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise ProtocolError(f"{digest[:80]!r} is no artifact digest (64 hexadecimal characters)")
    return digest


def up_topic(device: str, leaf: Literal["state", "telemetry", "need"]) -> str:
    return f"{PREFIX}/d/{check_device(device)}/up/{leaf}"


def down_topic(device: str, leaf: Literal["want", "ack"]) -> str:
    return f"{PREFIX}/d/{check_device(device)}/down/{leaf}"


def chunk_topic(digest: str, n: int) -> str:
    if not 0 <= n <= 9_999_999:
        raise ProtocolError(f"{n} is no chunk number (0 to 9999999)")
    return f"{PREFIX}/c/{check_digest(digest)}/{n}"


SERVER_STATE_TOPIC: Final = f"{PREFIX}/server/state"


def root_topic(version: int) -> str:
    if not 1 <= version <= 9_999_999:
        raise ProtocolError(f"{version} is no version of a root (1 to 9999999)")
    return f"{PREFIX}/server/root/{version}"


ALL_UP_TOPICS: Final = f"{PREFIX}/d/+/up/#"
UP_TOPICS: Final = tuple(f"{PREFIX}/d/+/up/{leaf}" for leaf in ("state", "need", "telemetry"))

_UP = re.compile(rf"{PREFIX}/d/({DEVICE_NAME.pattern})/up/(state|telemetry|need)")
_CHUNK = re.compile(rf"{PREFIX}/c/({DIGEST.pattern})/(0|[1-9][0-9]{{0,6}})")


def parse_up_topic(topic: str) -> tuple[str, str]:
    """``ep/1/d/pi-4/up/state`` -> ``("pi-4", "state")``. Raises ProtocolError."""
    match = _UP.fullmatch(topic)
    if match is None:
        raise ProtocolError(f"{topic[:120]!r} is no topic a device may publish on")
    return match[1], match[2]


def parse_chunk_topic(topic: str) -> tuple[str, int]:
    """``ep/1/c/{digest}/7`` -> ``(digest, 7)``. Raises ProtocolError."""
    match = _CHUNK.fullmatch(topic)
    if match is None:
        raise ProtocolError(f"{topic[:120]!r} is no chunk topic")
    return match[1], int(match[2])


# --- chunks and sealing: the byte formats both sides agree on; each side does its own cryptography --------


def chunk_count(artifact_bytes: int) -> int:
    return -(-artifact_bytes // CHUNK_PLAIN_BYTES)


def chunk_nonce(n: int) -> bytes:
    return n.to_bytes(12, "big")


def chunk_aad(digest: str, n: int, chunks: int) -> bytes:
    return f"{digest}/{n}/{chunks}".encode("ascii")


def seal_info(device: str, digest: str) -> bytes:
    return f"edgepress content key v1 {device} {digest}".encode("ascii")


# --- control messages (JSON) ------------------------------------------------------------------------------

JobStep = Literal[
    "idle", "fetching", "verified", "staged", "trial", "committed", "rejected", "failed", "rolled_back"
]
"""Where the device's job stands; `rejected`, `failed` and `rolled_back` come with a reason."""


class Hardware(msgspec.Struct, omit_defaults=True):
    """What the agent found out about its board; absent = could not be read."""

    machine: Text = ""  # platform.machine(): x86_64, aarch64, armv7l
    system: Text = ""  # "Linux 6.1.0"
    board: Text | None = None  # /proc/device-tree/model, or the CPU's name
    cores: Count | None = None
    ram_bytes: Count | None = None
    python: Text | None = None
    onnxruntime: Text | None = None


class State(msgspec.Struct, omit_defaults=True):
    """``up/state``. As the will it is only ``{"v": 1, "online": false}``; the server keeps what it knew."""

    online: bool
    v: int = VERSION
    at_ms: Count | None = None  # device clock, Unix milliseconds
    seq: Count = 0  # number of the journal transition this reports; grows, survives restarts
    agent: Text | None = None  # agent version
    hardware: Hardware | None = None
    running: Digest | None = None  # artifact that answers requests now
    running_release: Count | None = None
    staged: Digest | None = None  # artifact being fetched or tried
    want: Count = 0  # counter of the newest want the device accepted
    step: JobStep = "idle"
    reason: Text | None = None  # why rejected / failed / rolled_back, for people
    chunks_have: Count | None = None
    chunks_total: Count | None = None
    profiling: ProfilingState | None = None  # the newest profiling job; absent = there was none
    trial: TrialReport | None = None  # of the artifact in trial, or of the newest one that was tried
    waiting: Text | None = None  # why a download does not go on now, for people: hours, metered link, start
    received_bytes: Count | None = None  # payload bytes of chunks that came for this job, by whatever way
    via: Literal["mqtt", "https"] | None = None  # how chunks come now
    delta: bool = False  # the job fetches, or fetched, a delta
    root: Count = 0  # version of the TUF root that the device trusts; 0 = not said
    boot: Text | None = None  # drawn at each start of the agent: two boards with one identity show themselves


class Need(msgspec.Struct):
    """``up/need``: chunks that did not come."""

    digest: Digest
    chunks: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    missing: Annotated[str, msgspec.Meta(max_length=170_000)]
    """base64 of a bitmap, most significant bit first: bit n set = chunk n is missing"""
    v: int = VERSION


class Ack(msgspec.Struct):
    """``down/ack``: every batch of this epoch up to and including this number is stored; forget them."""

    epoch: Text
    number: Count
    v: int = VERSION


class ServerState(msgspec.Struct):
    online: bool
    roots: Count = 1  # version of the newest TUF root
    v: int = VERSION
    id: Text = ""  # drawn once by each installation: two servers on one broker find each other out


class Want(msgspec.Struct, omit_defaults=True):
    """Desired state of one device. ``digest`` None: run nothing."""

    device: Text
    issued_at: Count  # Unix seconds, server clock; raises the device's floor of signed time
    digest: Digest | None = None
    size: Count = 0  # bytes of the whole artifact
    chunks: Count = 0
    sealed_key: str = ""  # see the module's head
    statement: dict[str, Any] | None = None  # release statement, Metadata[Targets] as JSON
    telemetry_interval_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 1
    v: int = VERSION
    profiling: ProfilingJob | None = None  # desired state: "have done this job"; each id is done once
    delta: DeltaOffer | None = None
    limits: Limits = msgspec.field(default_factory=Limits)  # the rollout's; the stricter of both counts
    shadow: Shadow | None = None
    delivery: Delivery = msgspec.field(default_factory=Delivery)
    ticket: Text = ""  # lets this device fetch these chunks over HTTPS until the want expires
    sampling: Sampling = msgspec.field(default_factory=Sampling)  # the privacy policy; by default nothing


# --- telemetry (msgpack arrays: field order is the format, new fields only at the end, with defaults) -----


BUCKET_COUNT_MAX: Final = 2**40  # a sum over thousands of buckets still is a 64-bit integer
BucketCount = Annotated[int, msgspec.Meta(ge=0, le=BUCKET_COUNT_MAX)]


class Histogram(msgspec.Struct, array_like=True, gc=False):
    """A base-2 exponential histogram as OpenTelemetry defines it (data model, ExponentialHistogram).

    Bucket i of ``counts`` holds values v with ``base**(offset+i) < v <= base**(offset+i+1)``, where
    ``base = 2**(2**-scale)``. Histograms of one scale merge by adding counts.

    Buckets beyond ``2**-128 .. 2**128`` are refused, so whatever came over the wire merges into few buckets
    and has finite quantiles; no latency in any unit is out there. Counts stop at BUCKET_COUNT_MAX.
    """

    scale: Annotated[int, msgspec.Meta(ge=-10, le=20)]
    offset: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)]
    counts: Annotated[list[BucketCount], msgspec.Meta(max_length=4096)]
    zero_count: BucketCount = 0

    def __post_init__(self) -> None:
        if self.scale == 5 and self.offset >= -4096 and self.offset + len(self.counts) <= 4096:
            return  # what our agents send, told quickly: within 2**-128 .. 2**128
        width = math.ldexp(1.0, -self.scale)  # log2 of base
        low, high = self.offset * width, (self.offset + len(self.counts)) * width  # log2 of the outer bounds
        if self.counts and not (-128 - width <= low and high <= 128 + width):
            raise ValueError(f"buckets from {self.offset} at scale {self.scale} hold no latency")


class ErrorKinds(msgspec.Struct, array_like=True, gc=False):
    """Failed requests of one interval by what was wrong."""

    input: Count = 0  # the request does not fit the model
    runtime: Count = 0  # the runtime failed
    timeout: Count = 0  # no answer in time
    busy: Count = 0  # turned away: too many were waiting


class Sample(msgspec.Struct, array_like=True, gc=False):
    """What one device saw during one interval. None = this board cannot tell (never 0, never -1)."""

    at_ms: Count  # end of the interval, device clock, Unix milliseconds
    interval_ms: Count
    artifact: Digest | None = None
    inferences: Count = 0
    errors: Count = 0
    latency_us: Histogram | None = None  # of one inference in the runtime, queueing excluded
    rss_bytes: Count | None = None  # agent process
    mem_used_bytes: Count | None = None
    mem_total_bytes: Count | None = None
    cpu_percent: Finite | None = None  # whole board, 0..100
    temp_c: Finite | None = None
    throttled: bool | None = None
    power_mw: Reading | None = None
    energy_mj: Reading | None = None  # per inference
    battery_percent: Finite | None = None
    agent_cpu_percent: Finite | None = None  # the agent itself; 100 = one core
    disk_free_bytes: Count | None = None
    queue_us: Histogram | None = None  # stages of a request beside the inference: waiting for the model,
    pre_us: Histogram | None = None  # reading the request into tensors,
    post_us: Histogram | None = None  # writing the answer
    error_kinds: ErrorKinds | None = None  # of ``errors``, which is their sum
    swap_used_bytes: Count | None = None
    cpu_mhz: Finite | None = None  # mean over the cores
    gpu_percent: Finite | None = None
    battery_charging: bool | None = None
    disk_read_bytes: Count | None = None  # of the whole board, in this interval
    disk_written_bytes: Count | None = None
    net_rx_bytes: Count | None = None  # of the whole board without loopback, in this interval
    net_tx_bytes: Count | None = None
    wifi_dbm: Finite | None = None
    model: ModelStats | None = None  # about once a minute: what the model saw and said since the last


class TelemetryBatch(msgspec.Struct, array_like=True, gc=False):
    """``up/telemetry``. (device, epoch, number) names a batch for ever: the server stores each once."""

    v: int
    epoch: Text  # drawn at random when the device's outbox is created
    number: Count  # 1, 2, 3 ... within the epoch
    samples: Annotated[list[Sample], msgspec.Meta(max_length=1000)]
    oldest: Count = 0
    """lowest number the device still keeps: below it everything is acknowledged, or was given up because the
    outbox was full. So the server tells a gap that will be filled from one that never will; 0 = not said"""
    reports: Annotated[list[ProfilingReport], msgspec.Meta(max_length=REPORTS_PER_BATCH_MAX)] = []
    inputs: Annotated[list[InputSample], msgspec.Meta(max_length=INPUTS_PER_BATCH_MAX)] = []
    """inputs that the want's privacy policy let the device send; without one there are none"""
    sent_at_ms: Count = 0  # device clock when this was sent, Unix ms: shows how wrong it is; 0 = not said


Message = TypeVar("Message", State, Need, Ack, ServerState)


def to_json(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message)


def from_json(kind: type[Message], payload: bytes) -> Message:
    """Decode an untrusted control message. Raises ProtocolError."""
    most = NEED_MAX_BYTES if kind is Need else CONTROL_MAX_BYTES
    if len(payload) > most:
        raise ProtocolError(f"{kind.__name__} of {len(payload)} bytes; at most {most} are read")
    try:
        message = msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"malformed {kind.__name__}: {error}") from error
    _check_version(message.v)
    return message


_batch_decoder = msgspec.msgpack.Decoder(TelemetryBatch)


def encode_batch(batch: TelemetryBatch) -> bytes:
    return msgspec.msgpack.encode(batch)


def decode_batch(payload: bytes) -> TelemetryBatch:
    """Decode an untrusted telemetry batch. Raises ProtocolError."""
    if len(payload) > TELEMETRY_MAX_BYTES:
        raise ProtocolError(
            f"telemetry batch of {len(payload)} bytes; at most {TELEMETRY_MAX_BYTES} are read"
        )
    try:
        batch = _batch_decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"malformed telemetry batch: {error}") from error
    _check_version(batch.v)
    return batch


def _check_version(v: int) -> None:
    if v != VERSION:
        raise ProtocolError(f"message of protocol version {v}; this side speaks version {VERSION}")
