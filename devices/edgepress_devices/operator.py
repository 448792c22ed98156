"""One operator as a runtime executes it: its work and its traffic, all that a prediction looks at."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

NumberType = Literal["fp32", "fp16", "int8", "int4"]
KernelLayout = Literal["", "nchw", "nchwc", "nhwc"]  # "": has none, or it does not matter
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

CONVOLUTIONS: Final = frozenset(
    {"Conv", "FusedConv", "QLinearConv", "ConvInteger", "ConvTranspose", "NhwcFusedConv"}
)
PRODUCTS: Final = frozenset(
    {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulNBits", "QLinearMatMul", "QGemm", "MatMulInteger"}
) | {"MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
FEW_CHANNELS: Final = 4


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Of one sample. Raises nothing: a count that does not apply is 0 (or 1, for a kernel's side)."""

    name: str  # the node's name, else its first output
    op_type: str  # as the runtime calls the kernel: "Conv", "QLinearConv", "ReorderInput"
    dtype: NumberType  # of its arithmetic; of what it moves, where it computes nothing
    macs: Count = 0  # multiply-adds
    flops: Count = 0  # 2 for each multiply-add; other arithmetic: one for each number made or pooled over
    weight_bytes: Count = 0  # of its constants, as stored
    read_bytes: Count = 0  # of the values that it really reads: a Gather reads what it gives
    written_bytes: Count = 0
    depth: Count = 0  # products summed for one number of the output: channels / groups x kernel; 0: none
    columns: Count = 0  # output channels, or units; of what only moves numbers: as many as stay together
    rows: Count = 0  # positions, or rows
    kernel: Count = 1  # places that a window looks at: 9 for 3 x 3
    stride: Count = 1
    groups: Count = 1
    layout: KernelLayout = ""

    @property
    def bytes_moved(self) -> int:
        return self.weight_bytes + self.read_bytes + self.written_bytes

    @property
    def kind(self) -> str:
        """What is fitted together: family, layout of its numbers, their type ("pointwise nchwc fp32")."""
        return " ".join(part for part in (self.family, self.layout, self.dtype) if part)

    @property
    def family(self) -> str:
        """The kernel's family; an operator that is no product has its own ("MaxPool")."""
        if self.op_type in CONVOLUTIONS:
            return self._convolution()
        if self.op_type not in PRODUCTS:
            return self.op_type
        if self.weight_bytes == 0:
            return "product of values"
        return "matrix times vector" if self.rows == 1 else "matrix product"

    def _convolution(self) -> str:
        if self.op_type == "ConvTranspose":
            return "transposed convolution"
        if self.groups > 1:
            return "depthwise" if self.depth == self.kernel else "grouped convolution"
        if self.depth <= FEW_CHANNELS * self.kernel:
            return "first convolution"  # of pictures and sound: kernels of their own, for no block is full
        return "pointwise" if self.kernel == 1 else "convolution"
