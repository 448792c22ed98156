"""``edgepress model cost``: what a model takes on a kind of device, layer by layer, before it runs there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from .model_cost_server import cost_on_server
from .output import api, emit_json, errors, facts, micros, server_options, size, table, writing

if TYPE_CHECKING:
    from edgepress_devices.prediction import OperatorPrediction, Prediction
    from edgepress_devices.profile import DeviceProfile

LAYERS: Final = 20
_FILES: Final = (".onnx", ".pt2", ".epa")  # a model on the server may be named squeezenet1.1
_BASIS: Final = {"datasheet": "datasheet", "calibration": "calibrated", "measurement": "measured"}


@click.command()
@click.argument("model")
@click.option("--profile", required=True, help="Device profile: an id, or a TOML file.")
@click.option(
    "--layers",
    type=click.IntRange(min=0),
    default=LAYERS,
    show_default=True,
    help="How many layers to list, the slowest first; 0: all, in their order.",
)
@click.option(
    "--report",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a page with the roofline plot (of a file).",
)
@server_options
def cost(
    model: str, profile: str, layers: int, page: Path | None, url: str, token: str | None, as_json: bool
) -> None:
    """Predict latency, memory and energy of MODEL on a kind of device.

    MODEL is a file (.onnx or .pt2, or an artifact), and then no server is needed; or the name of a model on
    the server, or the beginning of an artifact's digest.
    """
    path = Path(model)
    if path.is_file():
        _cost_here(path, profile, layers or None, page, as_json=as_json)
    elif page is not None:
        raise click.BadParameter(f"a page is written of a file, and there is no file {model}")
    elif path.suffix in _FILES or "/" in model:
        raise click.BadParameter(f"there is no file {model}")
    else:
        cost_on_server(api(url, token), model, profile, layers=layers or None, as_json=as_json)


def _cost_here(
    path: Path, profile_name: str, layers: int | None, page: Path | None, *, as_json: bool
) -> None:
    with errors.status("Loading onnxruntime ..."):
        from edgepress_compression.artifact.format import MAGIC
        from edgepress_compression.artifact.read import decode
        from edgepress_compression.errors import EdgepressError
        from edgepress_compression.page.cost_page import cost_page
        from edgepress_compression.predict import predict_model
        from edgepress_compression.source import read_source
        from edgepress_devices.prediction import in_words
        from edgepress_devices.profile import ProfileError, load_profile

    try:
        profile = load_profile(profile_name)
        with path.open("rb") as file:
            is_artifact = file.read(len(MAGIC)) == MAGIC
        graph = decode(path.read_bytes()) if is_artifact else read_source(path).graph
        found = predict_model(graph, profile)
    except (EdgepressError, ProfileError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.strerror}: {error.filename or path}") from error
    words = in_words(found, profile)
    if page is not None:
        with writing(page) as stream:
            stream.write(cost_page(path.stem, found, profile).encode())
    if as_json:
        emit_json({"profile": profile.id, "words": words, **msgspec.to_builtins(found)})
        return
    _print(found, profile, words, layers)
    if page is not None:
        click.echo(f"Wrote {page}.")


def _print(found: "Prediction", profile: "DeviceProfile", words: str, layers: int | None) -> None:
    threads = profile.threads if profile.calibration is None else profile.calibration.threads
    rows: list[tuple[str, Any]] = [
        ("profile", f"{profile.id}, {threads} {'thread' if threads == 1 else 'threads'}"),
        ("latency", f"about {micros(found.latency_us)}, {words}"),
        ("memory", f"about {size(found.memory_bytes)}, {_BASIS[found.memory_basis]}"),
    ]
    if found.energy_mj is not None:
        rows.append(("energy", f"about {found.energy_mj:.3g} mJ, {_BASIS[found.energy_basis]}"))
    if found.overhead_us > 0:
        rows.append(("of the calls", f"{micros(found.overhead_us)} beyond the layers"))
    facts(rows)
    click.echo()
    listed = found.operators
    if layers is not None and layers < len(listed):
        listed = sorted(listed, key=lambda one: -one.latency_us)[:layers]
    table(
        ("LAYER", "KIND", ">TIME", ">SHARE", "BOUND", ">OP/BYTE", ">GOP/S"),
        [_row(one, found.latency_us) for one in listed],
        empty="The model executes no operator.",
    )
    if len(listed) < len(found.operators):
        click.echo(f"The {len(listed)} slowest of {len(found.operators)} layers.")
    click.echo(f"Times are predicted: {words}.")


def _row(one: "OperatorPrediction", total_us: float) -> tuple[str | None, ...]:
    computes = one.operations > 0
    return (
        one.name,
        one.kind if one.known else f"{one.kind} (not timed)",
        micros(one.latency_us),
        f"{100 * one.latency_us / total_us:.1f} %" if total_us > 0 else None,
        one.bound,
        f"{one.operations_per_byte:.3g}" if computes else None,
        f"{one.operations_per_us / 1000:.3g}" if computes else None,
    )
