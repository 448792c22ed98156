"""The wire protocol: what one side writes the other reads, and garbage is nothing but a ProtocolError."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices import protocol
from edgepress_devices.protocol import (
    Ack,
    Hardware,
    Histogram,
    KernelTime,
    Need,
    NetTime,
    ProfilingJob,
    ProfilingReport,
    ProfilingState,
    ProtocolError,
    Reading,
    Sample,
    ServerState,
    SkippedNet,
    State,
    TelemetryBatch,
    Want,
)

DIGEST = "0123456789abcdef" * 4

counts = st.integers(0, 2**53)
finite = st.floats(-1e15, 1e15, allow_nan=False)
text = st.text(st.characters(codec="utf-8"), max_size=500)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
devices = st.from_regex(protocol.DEVICE_NAME, fullmatch=True)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


hardware = st.builds(Hardware, machine=text, system=text, board=maybe(text), cores=maybe(counts))
ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
profiling_states = st.builds(
    ProfilingState,
    id=ids,
    state=st.sampled_from(["waiting", "running", "done", "failed"]),
    percent=st.integers(0, 100),
    reason=maybe(text),
)
states = st.builds(
    State,
    online=st.booleans(),
    at_ms=maybe(counts),
    seq=counts,
    agent=maybe(text),
    hardware=maybe(hardware),
    running=maybe(digests),
    staged=maybe(digests),
    want=counts,
    step=st.sampled_from(["idle", "fetching", "trial", "committed", "rolled_back"]),
    reason=maybe(text),
    chunks_have=maybe(counts),
    profiling=maybe(profiling_states),
)
needs = st.builds(
    Need, digest=digests, chunks=st.integers(1, 1_000_000), missing=st.text("AQgw/+=", max_size=99)
)
acks = st.builds(Ack, epoch=text, number=counts)
server_states = st.builds(ServerState, online=st.booleans(), roots=counts)


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    scale = draw(st.integers(-10, 20))
    buckets = draw(st.lists(st.integers(0, 2**40), max_size=40))
    width = 2.0**-scale
    lowest = math.ceil(max(-(2**31), (-128 - width) / width))
    highest = math.floor(min(2**31, (128 + width) / width)) - len(buckets)
    if highest < lowest:
        buckets = []
    offset = draw(st.integers(lowest, max(lowest, highest)))
    return Histogram(scale, offset, buckets, draw(st.integers(0, 2**40)))


readings = st.builds(Reading, value=finite, method=text, scope=text)
samples = st.builds(
    Sample,
    at_ms=counts,
    interval_ms=counts,
    artifact=maybe(digests),
    inferences=counts,
    latency_us=maybe(histograms()),
    cpu_percent=maybe(finite),
    throttled=maybe(st.booleans()),
    power_mw=maybe(readings),
    energy_mj=maybe(readings),
    disk_free_bytes=maybe(counts),
)
microseconds = st.floats(0, 1e12, allow_nan=False)
net_names = st.text(st.characters(codec="utf-8"), max_size=64)
forms = st.sampled_from(["", "fp32", "u8", "s8"])
reports = st.builds(
    ProfilingReport,
    id=ids,
    what=st.sampled_from(["device", "model"]),
    plan=st.integers(0, 100_000),
    digest=maybe(digests),
    runtime=text,
    machine=text,
    threads=st.integers(1, 4096),
    nets=st.lists(
        st.builds(NetTime, net_names, forms, microseconds, microseconds, microseconds, microseconds, counts),
        max_size=2,
    ),
    kernels=st.lists(
        st.builds(KernelTime, net_names, forms, text, text, microseconds, microseconds, counts), max_size=2
    ),
    temp_c_before=maybe(finite),
    busy_mw=maybe(readings),
    cut_short=st.booleans(),
    reason=maybe(text),
    skipped=st.lists(st.builds(SkippedNet, net_names, forms, text), max_size=2),
)
batches = st.builds(
    TelemetryBatch,
    v=st.just(1),
    epoch=text,
    number=counts,
    samples=st.lists(samples, max_size=5),
    oldest=counts,
    reports=st.lists(reports, max_size=2),
)


@given(st.one_of(states, needs, acks, server_states))
def test_a_control_message_arrives_as_it_was_sent(message: State | Need | Ack | ServerState) -> None:
    assert protocol.from_json(type(message), protocol.to_json(message)) == message


@given(batches)
def test_a_telemetry_batch_arrives_as_it_was_sent(batch: TelemetryBatch) -> None:
    assert protocol.decode_batch(protocol.encode_batch(batch)) == batch


@given(devices, st.sampled_from(["state", "telemetry", "need"]))
def test_an_up_topic_names_its_device_and_leaf(device: str, leaf: str) -> None:
    assert protocol.parse_up_topic(protocol.up_topic(device, leaf)) == (device, leaf)  # type: ignore[arg-type]


@given(digests, st.integers(0, 9_999_999))
def test_a_chunk_topic_names_its_digest_and_number(digest: str, n: int) -> None:
    assert protocol.parse_chunk_topic(protocol.chunk_topic(digest, n)) == (digest, n)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_with_a_protocol_error(payload: bytes) -> None:
    for kind in (State, Need, Ack, ServerState):
        with pytest.raises(ProtocolError):
            protocol.from_json(kind, payload)
    try:
        protocol.decode_batch(payload)
    except ProtocolError:
        pass


@given(batches, st.data())
def test_a_batch_with_flipped_bytes_is_a_batch_or_a_protocol_error(
    batch: TelemetryBatch, data: st.DataObject
) -> None:
    payload = bytearray(protocol.encode_batch(batch))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = protocol.decode_batch(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    except ProtocolError:
        return
    for sample in decoded.samples:  # what gets through is fit for the store: finite numbers
        for number in (sample.cpu_percent, sample.temp_c, sample.battery_percent, sample.agent_cpu_percent):
            assert number is None or math.isfinite(number)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
state_keys = st.sampled_from(list(State.__struct_fields__))


@given(st.dictionaries(state_keys, json_values, max_size=6))
def test_a_state_with_wrong_values_is_a_state_or_a_protocol_error(fields: dict[str, object]) -> None:
    payload = json.dumps(fields).encode()  # Python writes NaN and lone surrogates, which JSON does not know
    try:
        assert isinstance(protocol.from_json(State, payload), State)
    except ProtocolError:
        pass


@given(st.text(max_size=200))
def test_any_text_as_topic_is_parsed_or_a_protocol_error(topic: str) -> None:
    for parse in (protocol.parse_up_topic, protocol.parse_chunk_topic):
        with pytest.raises(ProtocolError):
            parse(topic)


def batch_with(**fields: object) -> bytes:
    sample = {"at_ms": 1, "interval_ms": 1, **fields}
    row = [sample.get(name) for name in Sample.__struct_fields__]
    row[3] = row[4] = 0  # inferences, errors
    return msgspec.msgpack.encode([1, "e", 1, [row]])


refuse = protocol.decode_batch
RUNNING_WITH_A_NEWLINE = json.dumps({"online": True, "running": DIGEST + "\n"}).encode()

NEED = protocol.to_json(Need(DIGEST, 9, "AQ=="))
# version, epoch, number, no samples, oldest, no reports, and a seventh field
BATCH_AND_MORE = b"\x97\x01\xa1e\x01\x90\x00\x90"

REFUSED = [
    ("a digest with a newline behind it", lambda: protocol.from_json(State, RUNNING_WITH_A_NEWLINE)),
    ("a digest in capitals", lambda: protocol.check_digest("A" * 64)),
    ("a digest topic with a newline behind it", lambda: protocol.parse_chunk_topic(f"ep/1/c/{DIGEST}/3\n")),
    ("a device name with a newline behind it", lambda: protocol.check_device("pi-4\n")),
    ("a device name with a wildcard", lambda: protocol.up_topic("+", "state")),
    ("a device name with a slash", lambda: protocol.down_topic("a/b", "want")),
    ("a chunk number below zero", lambda: protocol.chunk_topic(DIGEST, -1)),
    ("a chunk number no topic can carry", lambda: protocol.chunk_topic(DIGEST, 10_000_000)),
    ("a chunk number with a leading zero", lambda: protocol.parse_chunk_topic(f"ep/1/c/{DIGEST}/03")),
    ("a state that is too large", lambda: protocol.from_json(State, b'{"online":true}' + b" " * 16_384)),
    ("a need that is too large", lambda: protocol.from_json(Need, NEED + b" " * 180_000)),
    ("JSON text that is not UTF-8", lambda: protocol.from_json(State, b'{"online":true,"agent":"\xff"}')),
    ("a batch that is too large", lambda: protocol.decode_batch(b"\xc0" * 262_145)),
    ("JSON nested 8,000 deep", lambda: protocol.from_json(State, b"[" * 8_000)),
    ("an unknown field nested 8,000 deep", lambda: protocol.from_json(State, b'{"x":' + b"[" * 8_000)),
    ("msgpack nested 200,000 deep", lambda: protocol.decode_batch(b"\x91" * 200_000)),
    ("an unknown field of a batch nested 200,000 deep", lambda: refuse(BATCH_AND_MORE + b"\x91" * 200_000)),
    ("a batch of 2**32 samples in five bytes", lambda: refuse(b"\x94\x01\xa1e\x01\xdd\xff\xff\xff\xff")),
    ("text that is not UTF-8", lambda: protocol.decode_batch(b"\x94\x01\xa1\xff\x01\x90")),
    ("a later version", lambda: protocol.from_json(ServerState, b'{"online":true,"v":2}')),
    ("a later version of a batch", lambda: protocol.decode_batch(msgspec.msgpack.encode([2, "e", 1, []]))),
    ("a temperature that is no number", lambda: refuse(batch_with(temp_c=math.nan))),
    ("an endless cold", lambda: refuse(batch_with(temp_c=-math.inf))),
    ("an endless CPU use", lambda: refuse(batch_with(cpu_percent=math.inf))),
    ("power that is no number", lambda: refuse(batch_with(power_mw=[math.nan, "rapl", "package"]))),
    ("a negative count", lambda: refuse(batch_with(rss_bytes=-1))),
    ("more buckets than allowed", lambda: refuse(batch_with(latency_us=[5, 0, [1] * 4097]))),
    ("buckets that no latency can be in", lambda: refuse(batch_with(latency_us=[5, 2**31, [1]]))),
    ("buckets of a scale that does not exist", lambda: refuse(batch_with(latency_us=[21, 0, [1]]))),
]  # fmt: skip


@pytest.mark.parametrize(("what", "call"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(what: str, call: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        call()  # type: ignore[operator]
    assert 10 < len(str(caught.value)) < 400, what


def test_the_will_of_a_device_is_a_state_that_says_offline() -> None:
    assert protocol.from_json(State, b'{"v": 1, "online": false}') == State(online=False)


def test_a_batch_of_an_older_agent_without_the_newest_fields_is_read() -> None:
    payload = msgspec.msgpack.encode([1, "epoch", 7, [[1_000, 1_000, None, 3]]])
    batch = protocol.decode_batch(payload)
    assert (batch.number, batch.oldest, batch.samples[0].inferences, batch.samples[0].temp_c) == (
        7,
        0,
        3,
        None,
    )


def test_a_batch_of_a_newer_agent_with_unknown_fields_at_the_end_is_read() -> None:
    payload = msgspec.msgpack.encode([1, "epoch", 7, [], 0, [], [], 0, {"later": [1, 2]}])
    assert protocol.decode_batch(payload).number == 7


def without(kind: type[msgspec.Struct], *gone: str) -> type[msgspec.Struct]:
    """The message as a peer knows it that is older than these fields."""
    kept: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.name in gone:
            continue
        if field.required:
            kept.append((field.name, field.type))
        elif field.default_factory is not msgspec.NODEFAULT:
            kept.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            kept.append((field.name, field.type, field.default))
    array_like = kind.__struct_config__.array_like
    return msgspec.defstruct(f"Old{kind.__name__}", kept, array_like=array_like, omit_defaults=True)


JOB = ProfilingJob("cal-1", "model", 60, DIGEST)
REPORT = ProfilingReport("cal-1", "model", 1, DIGEST, "onnxruntime 1.31.1", "x86_64", 2, [], [])


def test_a_want_and_a_state_without_a_profiling_job_say_nothing_of_one() -> None:
    assert b"profiling" not in protocol.to_json(State(online=True))
    assert b"profiling" not in protocol.to_json(Want("pi-4", 1))
    assert protocol.from_json(State, b'{"online":true}').profiling is None
    assert msgspec.json.decode(b'{"device":"pi-4","issued_at":1}', type=Want).profiling is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (State, State(online=True, want=7, profiling=ProfilingState("cal-1", "running", 40))),
        (Want, Want("pi-4", 1, profiling=JOB)),
    ],
)
def test_a_peer_that_knows_no_profiling_reads_the_rest(kind: type[msgspec.Struct], message: Any) -> None:
    old = msgspec.json.decode(protocol.to_json(message), type=without(kind, "profiling"))
    expected = msgspec.structs.asdict(message)
    del expected["profiling"]
    assert msgspec.structs.asdict(old) == expected


def test_a_server_that_knows_no_reports_reads_the_samples() -> None:
    batch = TelemetryBatch(1, "e", 3, [Sample(1, 1)], 2, [REPORT])
    old: Any = msgspec.msgpack.decode(
        protocol.encode_batch(batch), type=without(TelemetryBatch, "reports", "inputs", "sent_at_ms")
    )
    assert (old.number, old.samples, old.oldest) == (3, [Sample(1, 1)], 2)


def test_a_batch_without_reports_of_an_agent_that_knows_none_is_read() -> None:
    payload = msgspec.msgpack.encode([1, "epoch", 7, [], 3])
    assert protocol.decode_batch(payload).reports == []


def report_with(**fields: object) -> bytes:
    row = [fields.get(name, getattr(REPORT, name)) for name in ProfilingReport.__struct_fields__]
    return msgspec.msgpack.encode([1, "e", 1, [], 0, [row]])


REFUSED_REPORTS = [
    ("a time that is no number", {"nets": [["n", "u8", 1.0, 1.0, math.nan, 1.0, 1, 0]]}),
    ("a time below zero", {"kernels": [["n", "u8", "c", "Conv", -1.0, 0.0, 1]]}),
    ("an endless time", {"kernels": [["n", "u8", "c", "Conv", math.inf, 0.0, 1]]}),
    ("more kernels than any net has", {"kernels": [["n", "u8", "c", "Conv", 1.0, 0.0, 1]] * 4097}),
    ("more nets than any plan has", {"nets": [["n", "u8", 1.0, 1.0, 1.0, 1.0, 1, 0]] * 257}),
    ("no thread", {"threads": 0}),
    ("an id that is a path", {"id": "../x"}),
    ("a digest that is none", {"digest": "x"}),
    ("a job that does not exist", {"what": "everything"}),
]


@pytest.mark.parametrize(("what", "fields"), REFUSED_REPORTS, ids=[row[0] for row in REFUSED_REPORTS])
def test_a_report_with_impossible_fields_is_refused(what: str, fields: dict[str, object]) -> None:
    protocol.decode_batch(report_with())
    with pytest.raises(ProtocolError):
        protocol.decode_batch(report_with(**fields))


def test_more_reports_than_a_batch_may_hold_are_refused() -> None:
    row = [getattr(REPORT, name) for name in ProfilingReport.__struct_fields__]
    with pytest.raises(ProtocolError):
        protocol.decode_batch(msgspec.msgpack.encode([1, "e", 1, [], 0, [row] * 5]))


@pytest.mark.parametrize("seconds", [4, 601])
def test_a_job_of_no_sensible_length_is_refused(seconds: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"id":"a","seconds":{seconds}}}'.encode(), type=ProfilingJob)


def test_chunks_cover_an_artifact_without_a_byte_left_over() -> None:
    plain = protocol.CHUNK_PLAIN_BYTES
    assert [protocol.chunk_count(n) for n in (0, 1, plain, plain + 1)] == [0, 1, 1, 2]
    assert plain + protocol.GCM_TAG_BYTES == protocol.CHUNK_MAX_BYTES


def test_no_two_chunks_share_nonce_or_associated_data() -> None:
    assert len({protocol.chunk_nonce(n) for n in range(1000)}) == 1000
    assert (
        protocol.chunk_aad(DIGEST, 1, 2)
        != protocol.chunk_aad(DIGEST, 2, 2)
        != protocol.chunk_aad(DIGEST, 2, 3)
    )
