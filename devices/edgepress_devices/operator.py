"""One operator as a runtime executes it: its work and its traffic, which is all that a prediction looks at."""

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
    columns: Count = 0  # output channels, or units
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
        """What is fitted together, with the type of its numbers: "pointwise int8", "MaxPool fp32"."""
        return f"{_kind(self)} {self.dtype}"


def _kind(one: Operator) -> str:
    if one.op_type in CONVOLUTIONS:
        if one.op_type == "ConvTranspose":
            return "transposed convolution"
        if one.groups > 1:
            return "depthwise" if one.depth == one.kernel else "grouped convolution"
        if one.depth <= 4 * one.kernel:
            return "first convolution"  # of pictures and sound: other kernels, as no channel block is full
        name = "pointwise" if one.kernel == 1 else "convolution"
        return f"plain {name}" if one.layout == "nchw" else name
    if one.op_type in PRODUCTS:
        if one.weight_bytes == 0:
            return "product of values"
        return "matrix times vector" if one.rows == 1 else "matrix product"
    return one.op_type
