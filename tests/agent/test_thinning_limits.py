"""What thinning must not join."""

from edgepress_agent.thinning import thinned
from edgepress_devices.protocol import Sample


def test_no_sample_covers_more_than_a_server_takes() -> None:
    """A disk that was full for more than a day: what covers longer would be set aside as no measurement."""
    half = [Sample(at_ms=n * 50_000_000, interval_ms=50_000_000, inferences=1) for n in (1, 2)]
    assert thinned(half) == half
    (joined,) = thinned([Sample(1000, 40_000_000), Sample(2000, 40_000_000)])
    assert joined.interval_ms == 80_000_000
