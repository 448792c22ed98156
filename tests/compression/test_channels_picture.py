"""The picture of the groups: people see which tensors are cut together, and why, or why not."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import msgspec
from channels_oracle import net

from edgepress_compression.graph.channels import channel_groups, describe, picture, table_text

BODY = (
    "a = Conv(x, w1) b = Conv<pads=[1,1,1,1]>(a, w2) s = Add(a, b) f = Flatten(s)"
    " y = Gemm<transB=1>(f, fc, fcb)"
)
GROUPS = channel_groups(
    net(
        "float[N,3,8,8] x",
        "float[N,5] y",
        BODY,
        {"w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "fc": (5, 216), "fcb": (5,)},
    )
)


def test_the_table_says_what_is_cut_together_and_why() -> None:
    assert table_text(GROUPS).splitlines() == [
        "w1  (6 channels; can be cut)",
        "    makes  w1  axis 0, positions 0 to 5",
        "    makes  w2  axis 0, positions 0 to 5",
        "    reads  w2  axis 1, positions 0 to 5",
        "    reads  fc  axis 1, positions 0 to 215, 36 a unit",
        "    because Add s combines them channel by channel",
        "fc  (5 features; fixed: they are the model's output y)",
        "    makes  fc   axis 0, positions 0 to 4",
        "    rides  fcb  axis 0, positions 0 to 4",
        "2 groups; 1 can be cut, 6 units in all.",
    ]


def test_the_facts_are_json() -> None:
    first, last = msgspec.json.decode(msgspec.json.encode(describe(GROUPS)))
    assert first["values"] == ["a", "b", "s", "f"]
    assert first["fixed"] is None
    assert first["why"] == ["Add s combines them channel by channel"]
    assert first["members"][3] == {
        "tensor": "fc", "axis": 1, "role": "reads", "width": 36, "first": 0, "last": 215,
    }  # fmt: skip
    assert last["fixed"] == "they are the model's output y"


def test_the_picture_draws_each_tensor_under_its_group() -> None:
    root = ET.fromstring(picture(GROUPS))
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text or "" for text in root.iter(f"{space}text")]
    assert "w1: 6 channels" in texts
    assert "fc: 5 features (fixed: they are the model's output y)" in texts
    assert "because Add s combines them channel by channel" in texts
    assert texts.count("6 of 6") == 3
    assert "216 of 216" in texts
    rows = [float(text.get("y", "0")) for text in root.iter(f"{space}text")]
    assert max(rows) < float(root.get("height", "0"))


def test_names_of_tensors_are_text_and_not_markup() -> None:
    wild = [replace(group, name="<script>&") for group in GROUPS]
    drawn = picture(wild)
    assert "<script" not in drawn
    assert ET.fromstring(drawn) is not None
