"""The table of operators that the executor can differentiate, and what each gets called with.

An operator is a function `f(call, *inputs)` that follows the ONNX specification of its type; it returns one
tensor or a tuple. An input that the node leaves out is None. Every family registers its functions here when
it is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Call:
    """The constant part of one node."""

    op_type: str
    opset: int  # of the standard operator set: some operators changed their meaning
    attributes: Mapping[str, Any]
    outputs: int  # how many outputs the node names

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def ints(self, name: str, tensor: Tensor | None = None) -> list[int] | None:
        """Integers that newer operator sets pass as an input, older ones as the attribute `name`."""
        if tensor is not None:
            return [int(value) for value in tensor.reshape(-1).tolist()]
        value = self.attributes.get(name)
        return None if value is None else [int(v) for v in value]


Operator = Callable[..., Tensor | tuple[Tensor, ...]]
OPERATORS: dict[str, Operator] = {}


def operator(*op_types: str) -> Callable[[Operator], Operator]:
    """Registers a function for operator types; those of another domain are written `domain.Type`."""

    def register(function: Operator) -> Operator:
        for op_type in op_types:
            OPERATORS[op_type] = function
        return function

    return register


def table_name(domain: str, op_type: str) -> str:
    """The name under which a node's operator stands in the table."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"
