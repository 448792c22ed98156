"""The checked types that the messages of the wire protocol are made of."""

from typing import Annotated

import msgspec

# \Z and not $, which also matches before a newline at the end
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
# NaN and infinity are in no range: stores and charts can rely on numbers
Finite = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Text = Annotated[str, msgspec.Meta(max_length=500)]


class Reading(msgspec.Struct, array_like=True, gc=False):
    """A number with where it came from; an estimate never wears a measurement's name."""

    value: Finite
    method: Text  # "ina3221", "rapl", "pmic", "battery", "estimate:tdp*cpu" ...
    scope: Text  # "board", "package", "core", "process" ...
