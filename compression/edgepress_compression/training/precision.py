"""Half the width where that is faster: bfloat16 products, while weights, their sums and the loss stay fp32.

bfloat16 has the exponent of fp32 and 8 bits of mantissa, so gradients need no scaling (Kalamkar et al. 2019).
On processors with instructions for it a convolutional training step takes about half the time; small networks
get slower, since every value is converted first. Which a model gets is decided by what the machine has and by
the model's work alone, never by a measurement, so that a run can be repeated on one machine.
"""

from __future__ import annotations

from typing import Final, Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]

_LEAST_MACS: Final = 10_000_000  # of one sample; LeNets (2.3e6) are faster in fp32, ResNet-20 (41e6) in bf16
_INTEGERS: Final = frozenset(
    {"FakeQuantize", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits"}
)


def half_width(
    precision: Precision, op_types: frozenset[str], macs: int | None, device: torch.device
) -> bool:
    """Whether to compute in bfloat16. `op_types` are those of the graph, `macs` its work on one sample.

    A graph that rounds to integers itself is always computed in fp32: 8 bits of mantissa would move what
    is rounded.
    """
    if op_types & _INTEGERS or precision == "fp32":
        return False
    if precision == "bf16":
        return True
    convolutional = not op_types.isdisjoint({"Conv", "ConvTranspose"})
    return convolutional and (macs or 0) >= _LEAST_MACS and has_bfloat16(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
