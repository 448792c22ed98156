"""What the demo shows: which model and data, which devices, which recipe for each."""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class DemoDevice:
    name: str
    profile: str
    recipe: str
    labels: tuple[str, ...]


# Three boards of three kinds, each with the recipe it profits from: the Pi 4's link and storage are small,
# the other two have int8 instructions (dot product on the Pi 5's A76, VNNI on a PC).
DEVICES = (
    DemoDevice("kitchen-pi-4", "raspberry-pi-4", "deep-compression", ("site=lab", "room=kitchen")),
    DemoDevice("door-pi-5", "raspberry-pi-5", "int8", ("site=lab", "room=door")),
    DemoDevice("bench-pc", "x86-pc", "int8", ("site=lab", "room=bench")),
)


@dataclass(frozen=True)
class DemoModel:
    name: str
    file: Path
    dataset_name: str
    dataset: Path


def find_model(work_dir: Path) -> DemoModel:
    """SqueezeNet 1.1 and the ImageNet sample where the data folder is; else a CNN trained here on digits."""
    data = Path(os.environ.get("EDGEPRESS_DATA") or REPOSITORY.parent / "shared" / "data")
    squeezenet = data / "models" / "squeezenet1.1.onnx"
    sample = REPOSITORY / "tests" / "benchmarks" / "datasets" / "imagenet_sample.toml"
    if squeezenet.is_file() and sample.is_file():
        return DemoModel("squeezenet1.1", squeezenet, "imagenet-sample", sample)
    from edgepress_compression.data.digits import make_digits_model, write_digits_npz

    model, arrays = work_dir / "digits-cnn.onnx", work_dir / "digits.npz"
    model.write_bytes(make_digits_model(seed=0))
    write_digits_npz(arrays)
    return DemoModel("digits-cnn", model, "digits", arrays)


def record_inputs(model: DemoModel, target: Path, samples: int = 16) -> None:
    """The first test samples as the model takes them, for the program on each device to ask about."""
    import numpy as np

    from edgepress_compression.data.dataset import load_dataset
    from edgepress_compression.data.fit import fit
    from edgepress_compression.graph.load import load_model

    graph = load_model(model.file)
    split = fit(load_dataset(model.dataset), graph.inputs, graph.outputs, model_name=model.name).split("test")
    inputs, _ = next(iter(split.batches(samples)))
    np.savez(target, allow_pickle=False, **inputs)
