"""The page of a prediction: what it rests on beside every total, every layer, dots below the roofs."""

from __future__ import annotations

import msgspec
from planted_reports import Law, planted
from test_calibration_fit import PC, fitted

from edgepress_compression.page.cost_page import cost_page
from edgepress_compression.predict import predict_model
from edgepress_devices.microbench.nets import write_net


def test_a_page_says_what_its_figures_rest_on_and_lists_every_layer() -> None:
    told = predict_model(write_net("separable-96", "u8"), PC)
    html = cost_page("a <model>", told, PC)
    assert "a &lt;model&gt;" in html
    assert "a <model>" not in html
    assert html.count("datasheet (roofline, expect a factor of 2)") >= 2
    assert all(one.name in html for one in told.operators)
    assert "int8 by the datasheet" in html
    assert "as measured" not in html


def test_a_calibrated_profile_has_measured_roofs_beside_the_datasheets() -> None:
    profile = msgspec.structs.replace(PC, calibration=fitted(planted(Law())))
    html = cost_page("m", predict_model(write_net("plain-32", "fp32"), profile), profile)
    assert "fp32 as measured, at best" in html
    assert "calibrated on 1 device" in html


def test_a_model_that_computes_nothing_has_a_page_too() -> None:
    told = msgspec.structs.replace(predict_model(write_net("plain-16", "fp32"), PC), operators=[])
    assert "No operator of this model computes anything" in cost_page("m", told, PC)
