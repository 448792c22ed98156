"""Prometheus' messages, decoded by protobuf itself from a schema written down here: the oracle of our writer.

Only what /metrics may hold. Field numbers and types are those of client_model's metrics.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS = {
    "double": 1,
    "uint64": 4,
    "string": 9,
    "message": 11,
    "uint32": 13,
    "enum": 14,
    "sint32": 17,
    "sint64": 18,
}
_SCHEMA: dict[str, list[tuple[str, int, str, bool]]] = {
    "LabelPair": [("name", 1, "string", False), ("value", 2, "string", False)],
    "Gauge": [("value", 1, "double", False)],
    "Counter": [("value", 1, "double", False)],
    "Bucket": [("cumulative_count", 1, "uint64", False), ("upper_bound", 2, "double", False)],
    "BucketSpan": [("offset", 1, "sint32", False), ("length", 2, "uint32", False)],
    "Histogram": [
        ("sample_count", 1, "uint64", False),
        ("sample_sum", 2, "double", False),
        ("bucket", 3, "Bucket", True),
        ("schema", 5, "sint32", False),
        ("zero_threshold", 6, "double", False),
        ("zero_count", 7, "uint64", False),
        ("positive_span", 12, "BucketSpan", True),
        ("positive_delta", 13, "sint64", True),
    ],
    "Metric": [
        ("label", 1, "LabelPair", True),
        ("gauge", 2, "Gauge", False),
        ("counter", 3, "Counter", False),
        ("histogram", 7, "Histogram", False),
    ],
    "MetricFamily": [
        ("name", 1, "string", False),
        ("help", 2, "string", False),
        ("type", 3, "MetricType", False),
        ("metric", 4, "Metric", True),
        ("unit", 5, "string", False),
    ],
}


def _family_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="metrics.proto", package="io.prometheus.client", syntax="proto2"
    )
    enum = file.enum_type.add(name="MetricType")
    for number, name in enumerate(("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM")):
        enum.value.add(name=name, number=number)
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            made = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in _SCHEMA:
                made.type, made.type_name = _KINDS["message"], f".io.prometheus.client.{kind}"
            elif kind == "MetricType":
                made.type, made.type_name = _KINDS["enum"], ".io.prometheus.client.MetricType"
            else:
                made.type = _KINDS[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.MetricFamily"))


MetricFamily = _family_class()


def decode(data: bytes) -> dict[str, Any]:
    """name -> MetricFamily, of messages that each follow their length."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        family = MetricFamily()
        family.ParseFromString(data[at : at + size])
        assert family.name not in found, f"{family.name} comes twice"
        found[family.name] = family
        at += size
    return found


def native_counts(histogram: Any) -> dict[int, int]:
    """Prometheus' bucket index -> count, as its documentation reads spans and deltas."""
    counts: dict[int, int] = {}
    index = value = at = 0
    for number, span in enumerate(histogram.positive_span):
        index = span.offset if number == 0 else index + span.offset
        for _ in range(span.length):
            value += histogram.positive_delta[at]
            counts[index] = value
            at += 1
            index += 1
    assert at == len(histogram.positive_delta)
    return counts
