"""``edgepress profile calibrate ID --here``: this very machine is the device, and no server is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from edgepress_devices.calibration import Calibration
from edgepress_devices.prediction import datasheet_type
from edgepress_devices.profile import DeviceProfile, ProfileError, load_profile
from edgepress_devices.profile_toml import toml_text
from edgepress_devices.roofline import roofline

from .output import emit_json, micros, table, writing
from .profile_here import machine_kind


def calibrate_this_machine(profile_name: str, seconds: int, out: Path | None, *, as_json: bool) -> None:
    """Measure, fit, say what came of it, and write a profile that stands on the given one."""
    from edgepress_compression.calibrate.fit import CalibrationError, DeviceReport, fit
    from edgepress_compression.calibrate.here import HERE, calibrate_here
    from edgepress_devices.microbench.timing import CannotRunError

    from .compress import progress_bars

    try:
        profile = load_profile(profile_name)
    except ProfileError as error:
        raise click.ClickException(str(error)) from error
    try:
        kind = machine_kind(Path("/"))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if profile.cpu.machine != kind:
        raise click.ClickException(
            f"this machine is {kind} and {profile.id} is {profile.cpu.machine}: its times would tell nothing "
            "about it. `edgepress profile new NAME --here -o FILE` begins a profile of this machine."
        )
    if out is not None and not out.resolve().parent.is_dir():
        raise click.BadParameter(f"the folder {out.resolve().parent} does not exist; create it first")
    try:
        with progress_bars(quiet=as_json) as bars:
            task = bars.add_task(profile.id, total=100, step="measuring this machine")
            report = calibrate_here(profile, seconds, progress=lambda done: bars.update(task, completed=done))
            bars.update(task, completed=100, step="fitting")
            fitted = fit([DeviceReport(device=HERE, report=report)], profile)
    except CannotRunError as error:
        raise click.ClickException(str(error)) from error
    except CalibrationError as error:
        longer = " Measure for longer: --seconds 60 or more." if report.cut_short and seconds < 60 else ""
        raise click.ClickException(f"{error}{longer}") from error
    if out is not None:
        with writing(out) as stream:
            stream.write(calibrated_toml(profile, fitted).encode())
    if as_json:
        emit_json(msgspec.to_builtins(fitted))
        return
    _say(profile, fitted)
    if report.reason:
        click.echo(f"Note: {report.reason}.", err=True)
    if out is None:
        click.echo("\nNothing was written: -o calibrated.toml makes it a profile to predict with.")
    else:
        click.echo(f"\nWrote {out}. Predict with it: edgepress model cost MODEL.onnx --profile {out}")


def calibrated_toml(profile: DeviceProfile, fitted: Calibration) -> str:
    """A profile that takes over everything but its name from ``profile``, and holds the calibration."""
    name = profile.id if len(profile.id) <= 52 else profile.id[:52].rstrip("-")
    return toml_text(
        {
            "id": f"{name}-calibrated",
            "name": f"{profile.name}, calibrated"[:500],
            "inherits": profile.id,
            "calibration": _present(msgspec.to_builtins(fitted)),
        }
    )


def _present(value: Any) -> Any:
    """TOML has no null: what is absent is left out."""
    if isinstance(value, Mapping):
        return {key: _present(inner) for key, inner in value.items() if inner is not None}
    return [_present(inner) for inner in value] if isinstance(value, list) else value


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"


def _say(profile: DeviceProfile, fitted: Calibration) -> None:
    rows = []
    for name, kind in sorted(fitted.kinds.items()):
        limits = roofline(profile, datasheet_type(name.rpartition(" ")[2]))
        rate = kind.operations_per_us
        rows.append(
            (
                name,
                kind.samples,
                None if rate is None else f"{limits.operations_per_us / 1000:.1f} Gop/s",
                None if rate is None else f"{rate / 1000:.1f} Gop/s",
                f"{limits.bytes_per_us / 1000:.1f} GB/s",
                f"{kind.bytes_per_us / 1000:.3g} GB/s",
                micros(kind.overhead_us),
                _percent(kind.error),
            )
        )
    table(
        ("KIND", ">SHAPES", ">DATASHEET", ">HERE", ">DATASHEET", ">HERE", ">A CALL", ">ERROR"), rows, empty=""
    )
    error = fitted.error
    if fitted.threads != profile.threads:
        click.echo(
            f"\nMeasured with {fitted.threads} of the {profile.threads} threads that {profile.id} gives the "
            "runtime; the datasheet's figures are of all of them."
        )
    click.echo(
        f"\nOn {error.n} nets left out of the fit: median error {_percent(error.model_median)}, worst "
        f"{_percent(error.model_worst)}; of an operator {_percent(error.operator_median)}."
    )
