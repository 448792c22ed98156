"""What a runtime executes of one model: what the child process works out and the disk keeps."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from edgepress_devices.operator import Count, Operator

OPERATORS_MAX: Final = 20_000  # of a model that can be looked at layer by layer
BYTES_MAX: Final = 16 << 20  # of its JSON; an operator takes about 300


class ExecutedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    operators: Annotated[list[Operator], msgspec.Meta(max_length=OPERATORS_MAX)]
    weight_bytes: Count  # of all initializers, as stored
    peak_activation_bytes: Count


def encode(model: ExecutedModel) -> bytes:
    return msgspec.json.encode(model)


def decode(raw: bytes) -> ExecutedModel:
    """Raises ValueError for anything else."""
    if len(raw) > BYTES_MAX:
        raise ValueError(f"larger than {BYTES_MAX} bytes")
    return msgspec.json.decode(raw, type=ExecutedModel)
