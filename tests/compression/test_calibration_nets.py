"""The calibration nets are valid, run, and are executed as the models are that they stand for."""

from __future__ import annotations

import msgspec
import onnx
import pytest

from edgepress_compression.calibrate.samples import net_operators
from edgepress_devices.microbench import onnx_writer
from edgepress_devices.microbench.nets import FORMS, NAMES, write_net
from edgepress_devices.profiling_messages import REPORT_MAX_BYTES
from edgepress_devices.protocol import KernelTime, NetTime


@pytest.mark.parametrize("form", FORMS)
def test_every_net_is_a_valid_model(form: str) -> None:
    for name in NAMES:
        for one in FORMS:
            if one == form:
                onnx.checker.check_model(onnx.load_from_string(write_net(name, one)), full_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_in_integers_every_product_but_the_first_runs_in_integers(name: str) -> None:
    operators = net_operators(name, "u8", "nchwc").operators
    products = [one for one in operators if one.macs and one.family != "product of values"]
    assert {one.dtype for one in products[1:]} <= {"int8"}
    first = [one.kind for one in products[:1] if one.dtype != "int8"]
    assert all(kind.startswith("first convolution") for kind in first)


@pytest.mark.parametrize("name", NAMES)
def test_fp32_convolutions_take_their_activations_along(name: str) -> None:
    operators = net_operators(name, "fp32", "nchwc").operators
    names = [one.op_type for one in operators]
    assert "BatchNormalization" not in names
    if name.startswith(("plain", "separable", "fire")):
        assert "Relu" not in names


def test_a_whole_report_fits_the_smallest_broker() -> None:
    rows = [NetTime(name, form, 1.5, 1.5, 1.5, 0.5, 999, 99) for name in NAMES for form in ("fp32", "u8")]
    kernels = [
        KernelTime(name, form, one.name, one.op_type, 1.5, 0.5, 999)
        for name in NAMES
        for form in ("fp32", "u8")
        for one in net_operators(name, form, "nchwc").operators
    ]
    assert len(msgspec.msgpack.encode([rows, kernels])) < REPORT_MAX_BYTES - 4000


def test_the_same_name_gives_the_same_bytes() -> None:
    assert write_net("fire-160", "u8") == write_net("fire-160", "u8")
    with pytest.raises(KeyError):
        write_net("no-such-net", "fp32")


def test_the_writer_writes_the_bytes_of_the_protocol() -> None:
    # field 1 "x", field 2 "y", field 3 (name) "y", field 4 (type) "Relu": each key, length, text
    assert onnx_writer.node("Relu", ("x",), ("y",)) == b"\x0a\x01x\x12\x01y\x1a\x01y\x22\x04Relu"
    made = onnx.TensorProto.FromString(onnx_writer.tensor("t", (2, 1), onnx_writer.INT8, b"\x07\xff"))
    assert (list(made.dims), made.data_type, made.name, made.raw_data) == ([2, 1], 3, "t", b"\x07\xff")
    value = onnx.ValueInfoProto.FromString(onnx_writer.value("v", (1, 300), onnx_writer.FLOAT))
    assert [side.dim_value for side in value.type.tensor_type.shape.dim] == [1, 300]


def test_attributes_read_back_as_onnx_reads_them() -> None:
    raw = onnx_writer.node("Conv", ("x",), ("y",), {"pads": (1, 2), "alpha": 0.5, "mode": "same", "axis": -1})
    node = onnx.NodeProto.FromString(raw)
    told = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    assert told == {"pads": [1, 2], "alpha": 0.5, "mode": b"same", "axis": -1}


def test_a_tensor_of_another_size_than_its_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="is not 3 bytes"):
        onnx_writer.tensor("t", (2,), onnx_writer.INT8, b"abc")
