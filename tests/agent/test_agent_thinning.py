"""Thinning what waits in the outbox: half the samples, every count."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_agent.thinning import thinned
from edgepress_devices.histogram import total
from edgepress_devices.model_messages import FeatureDrift, ModelStats
from edgepress_devices.protocol import ErrorKinds, Histogram, Reading, Sample, TelemetryBatch, decode_batch
from edgepress_devices.protocol import encode_batch as encode

HISTOGRAMS = ("latency_us", "queue_us", "pre_us", "post_us")
TRAFFIC = ("disk_read_bytes", "disk_written_bytes", "net_rx_bytes", "net_tx_bytes")


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


few = st.integers(0, 50)
share = st.floats(0, 1)
histograms = st.builds(
    Histogram,
    scale=st.integers(3, 5),
    offset=st.integers(-50, 300),
    counts=st.lists(few, max_size=9),
    zero_count=few,
)
features = st.builds(
    FeatureDrift,
    name=st.sampled_from(["mean", "spread", "hue"]),
    psi=share,
    ks=share,
    counts=st.lists(few, min_size=4, max_size=4),
    mean=maybe(share),
)
stats = st.builds(
    ModelStats,
    window_ms=few,
    looked_at=few,
    input_psi=maybe(share),
    confidence=maybe(share),
    confidence_counts=st.just([]) | st.lists(few, min_size=5, max_size=5),
    class_counts=st.just([]) | st.lists(few, min_size=3, max_size=3),
    features=st.lists(features, max_size=3, unique_by=lambda feature: feature.name),
    compared=few,
    agreed=few,
)
samples = st.lists(
    st.builds(
        Sample,
        at_ms=st.just(0),
        interval_ms=st.integers(1, 2000),
        artifact=st.sampled_from([None, "a" * 64, "b" * 64]),
        inferences=few,
        errors=few,
        error_kinds=maybe(st.builds(ErrorKinds, few, few, few, few)),
        throttled=maybe(st.booleans()),
        temp_c=maybe(st.floats(0, 90)),
        power_mw=maybe(st.builds(Reading, st.floats(0, 9000), st.just("pmic"), st.just("rails"))),
        model=maybe(stats),
        **{name: maybe(histograms) for name in HISTOGRAMS},
        **{name: maybe(few) for name in TRAFFIC},
    ),
    max_size=9,
).map(lambda taken: [msgspec.structs.replace(one, at_ms=n) for n, one in enumerate(taken)])


def counts(taken: list[Sample]) -> dict[str, Any]:
    """Everything in samples that adds up, added up."""
    stats = [one.model for one in taken if one.model]
    found: dict[str, Any] = {
        name: sum(getattr(one, name) for one in taken) for name in ("interval_ms", "inferences", "errors")
    }
    for name in TRAFFIC:
        found[name] = sum(getattr(one, name) or 0 for one in taken)
    for name in HISTOGRAMS:
        found[name] = sum(total(getattr(one, name)) for one in taken if getattr(one, name))
    for kind in ("input", "runtime", "timeout", "busy"):
        found[kind] = sum(getattr(one.error_kinds, kind) for one in taken if one.error_kinds)
    for name in ("window_ms", "looked_at", "compared", "agreed"):
        found[name] = sum(getattr(one, name) for one in stats)
    for name in ("class_counts", "confidence_counts"):
        found[name] = sum(sum(getattr(one, name)) for one in stats)
    for name in ("mean", "spread", "hue"):
        found[name] = sum(sum(one.counts) for stat in stats for one in stat.features if one.name == name)
    return found


@settings(deadline=None)
@given(samples)
def test_thinning_loses_no_count_of_any_model_however_often(taken: list[Sample]) -> None:
    thin = taken
    for _ in range(3):
        thin = thinned(thin)
        for artifact in (None, "a" * 64, "b" * 64):
            of = [one for one in taken if one.artifact == artifact]
            assert counts([one for one in thin if one.artifact == artifact]) == counts(of)
        assert [one.at_ms for one in thin] == sorted(one.at_ms for one in thin)
        batch = TelemetryBatch(1, "e", 1, thin)
        assert decode_batch(encode(batch)) == batch
    if len({one.artifact for one in taken}) == 1:
        assert len(thinned(taken)) == (len(taken) + 1) // 2


def test_every_field_of_a_sample_is_thought_of() -> None:
    """A new field: decide in ``thinning`` how two of them become one, then add it here."""
    later = {"at_ms", "artifact", "rss_bytes", "mem_used_bytes", "mem_total_bytes", "cpu_percent", "temp_c"}
    later |= {"power_mw", "energy_mj", "battery_percent", "agent_cpu_percent", "disk_free_bytes"}
    later |= {"swap_used_bytes", "cpu_mhz", "gpu_percent", "battery_charging", "wifi_dbm"}
    added = {"interval_ms", "inferences", "errors", "error_kinds", "model", *HISTOGRAMS, *TRAFFIC}
    assert set(Sample.__struct_fields__) == later | added | {"throttled"}


def test_a_gauge_is_the_later_one_that_was_measured_and_a_board_held_back_once_was_held_back() -> None:
    first = Sample(1, 1000, temp_c=50.0, cpu_percent=10.0, throttled=True, battery_charging=True)
    second = Sample(2, 1000, cpu_percent=20.0, throttled=False, battery_charging=False)
    [joined] = thinned([first, second])
    assert (joined.temp_c, joined.cpu_percent) == (50.0, 20.0)
    assert (joined.throttled, joined.battery_charging, joined.power_mw) == (True, False, None)


def test_two_models_are_never_joined() -> None:
    taken = [Sample(n, 1000, artifact=name * 64) for n, name in enumerate("abb")]
    assert [(one.artifact or "")[0] for one in thinned(taken)] == ["a", "b"]


def test_of_two_drifts_the_worse_stands_and_means_are_weighted() -> None:
    first = ModelStats(
        60_000, 30, input_psi=0.4, confidence=0.9, features=[FeatureDrift("mean", 0.4, 0.1, [3], 1.0)]
    )
    second = ModelStats(
        60_000, 10, input_psi=0.1, confidence=0.5, features=[FeatureDrift("mean", 0.1, 0.2, [1], 5.0)]
    )
    [joined] = thinned([Sample(1, 1000, model=first), Sample(2, 1000, model=second)])
    assert joined.model is not None
    assert (joined.model.input_psi, joined.model.confidence) == (0.4, pytest.approx(0.8))
    assert joined.model.features == [FeatureDrift("mean", 0.4, 0.2, [4], 2.0)]
