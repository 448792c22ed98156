"""A calibration whose figures are made up, so that a test can say what must come of them."""

from edgepress_devices.calibration import Calibration, CrossValidation, KindFit


def planted_calibration() -> Calibration:
    """Three devices; convolutions sustain 30 Gop/s, everything else 4 GB/s; models within 8 %."""
    return Calibration(
        runtime="onnxruntime 1.31.1",
        threads=4,
        plan=1,
        at_ms=1,
        devices=["pi-1", "pi-2", "pi-3"],
        samples=100,
        node_overhead_us=0.0,
        run_overhead_us=0.0,
        kinds={
            "convolution nchw fp32": KindFit(
                operations_per_us=30_000.0, bytes_per_us=4_000.0, overhead_us=1.0, samples=20
            ),
            "pointwise nchw fp32": KindFit(
                operations_per_us=20_000.0, bytes_per_us=4_000.0, overhead_us=1.0, samples=20
            ),
            "Transpose fp32": KindFit(bytes_per_us=3_000.0, overhead_us=1.0, samples=10),
            "Split fp32": KindFit(bytes_per_us=900_000.0, overhead_us=1.0, samples=1),  # no roof: one shape
        },
        error=CrossValidation(operator_median=0.1, model_median=0.08, model_worst=0.2, n=10),
    )
