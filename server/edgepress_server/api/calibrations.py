"""Calibrations of device profiles: the active one, its history, back to the one before."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_devices.calibration import Calibration
from edgepress_devices.prediction import datasheet_type
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.roofline import roofline
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.artifact_predictions import ArtifactError
from edgepress_server.store.calibrations import CalibrationRow, CalibrationState, basis_of

api = section("calibrations", "What was fitted to a profile from times that its devices measured.")


class ProfilePath(Asked):
    id: Annotated[str, Field(max_length=80)]


class KindAnswer(Answer):
    """One kind of operator: what it sustains, beside what the datasheet allows at most."""

    kind: str = Field(description='Such as "pointwise int8"')
    operations_per_us: float | None = Field(description="A multiply-add counts as two; null: it only moves")
    bytes_per_us: float
    overhead_us: float = Field(description="Of one call")
    samples: int = Field(description="Kernels of different shapes that it was fitted to")
    error: float | None = Field(description="Median, relative, on nets left out; null: too few")
    datasheet_operations_per_us: float
    datasheet_bytes_per_us: float


class RejectedAnswer(Answer):
    device: str
    reason: str


class ErrorAnswer(Answer):
    """Relative errors (0.08 = 8 %) of predictions for calibration nets that were left out of the fit."""

    operator_median: float
    model_median: float
    model_worst: float
    n: int = Field(description="Nets")


class PowerAnswer(Answer):
    idle_mw: float
    busy_mw: float
    method: str
    scope: str


class CalibrationAnswer(Answer):
    id: int
    profile: str
    state: CalibrationState = Field(description="kept: worse than the one before, so not used")
    at: int
    message: str = Field(description="What became better or worse")
    actor: str | None = Field(description="Who reverted it")
    runtime: str
    threads: int
    plan: int = Field(description="Version of the calibration nets")
    devices: list[str] = Field(description="Whose times were used")
    rejected: list[RejectedAnswer]
    samples: int
    error_before: float | None = Field(description="Of the one before on the same nets; null: unknown")
    error_after: float = Field(description="Of this one on the same nets")
    error: ErrorAnswer
    run_overhead_us: float
    node_overhead_us: float
    power: PowerAnswer | None
    runtime_bytes: int | None = Field(description="Memory of the runtime without a model")
    kinds: list[KindAnswer]


class Calibrations(RootModel[list[CalibrationAnswer]]):
    pass


class FitAnswer(Answer):
    running: bool
    message: str = Field(description="Why the last fit gave no calibration; empty: it did")
    at: int


class ArtifactErrorAnswer(Answer):
    """An artifact that runs: predicted against measured, over the last hour."""

    digest: str
    model: str
    recipe: str
    devices: int
    inferences: int
    measured_p50_us: float
    predicted_us: float
    basis: str = Field(description="datasheet or calibration")
    expected_error: float | None
    error: float = Field(description="0.2: predicted to take 20 % longer than it does")


class CalibrationStatus(Answer):
    profile: str
    active: CalibrationAnswer | None = Field(description="null: predictions rest on the datasheet")
    newest: CalibrationAnswer | None = Field(description="The last fitted one, whether or not it is used")
    stale: bool = Field(description="The profile's figures changed since; a new fit is under way")
    pending: bool = Field(description="Reports or figures came that no fit has looked at yet")
    fit: FitAnswer | None = Field(description="The last fit, or the one under way; null: there was none")
    errors: list[ArtifactErrorAnswer]


@api.get("/profiles/<id>/calibration", responses={200: CalibrationStatus})
@needs("viewer")
def get_calibration(path: ProfilePath) -> Response:
    """The active calibration of a profile, and how far predictions are from what its devices measure"""
    return answer(_status(path.id))


@api.get("/profiles/<id>/calibrations", responses={200: Calibrations})
@needs("viewer")
def list_calibrations(path: ProfilePath) -> Response:
    """Every calibration of a profile that is kept, newest first"""
    store = context().store
    with store.database.snapshot():
        profile = store.profiles.resolve(path.id)
        return answers([_answer(row, profile) for row in store.calibrations.history(path.id)])


@api.delete("/profiles/<id>/calibration", responses={200: CalibrationStatus})
@needs("operator")
def revert_calibration(path: ProfilePath) -> Response:
    """Take the active calibration out of use: the one before it holds again, or the datasheet"""
    store = context().store
    store.profiles.get_text(path.id)  # a name that is no profile is said so
    store.calibrations.revert(path.id, actor=person().name)
    return answer(_status(path.id))


def _status(profile_id: str) -> CalibrationStatus:
    store = context().store
    with store.database.snapshot():
        profile = store.profiles.resolve(profile_id)
        row = store.calibrations.active_row(profile_id)
        newest = store.calibrations.history(profile_id, 1)
        fit = store.refits.last(profile_id)
        settled = store.refits.settled(profile_id)
        errors = store.calibrations.errors(profile_id)
    return CalibrationStatus(
        profile=profile_id,
        active=None if row is None else _answer(row, profile),
        newest=_answer(newest[0], profile) if newest else None,
        stale=row is not None and row.basis != basis_of(profile),
        pending=not settled,
        fit=None if fit is None else FitAnswer(running=fit.running, message=fit.message, at=fit.at),
        errors=[_error(one) for one in errors],
    )


def _error(one: ArtifactError) -> ArtifactErrorAnswer:
    return ArtifactErrorAnswer.model_validate(one)


def _answer(row: CalibrationRow, profile: DeviceProfile) -> CalibrationAnswer:
    fitted = row.calibration
    return CalibrationAnswer(
        id=row.id,
        profile=row.profile,
        state=row.state,
        at=row.at,
        message=row.message,
        actor=row.actor,
        runtime=fitted.runtime,
        threads=fitted.threads,
        plan=fitted.plan,
        devices=fitted.devices,
        rejected=[RejectedAnswer.model_validate(one) for one in fitted.rejected],
        samples=fitted.samples,
        error_before=row.error_before,
        error_after=row.error_after,
        error=ErrorAnswer.model_validate(fitted.error),
        run_overhead_us=fitted.run_overhead_us,
        node_overhead_us=fitted.node_overhead_us,
        power=None if fitted.power is None else PowerAnswer.model_validate(fitted.power),
        runtime_bytes=None if fitted.memory is None else fitted.memory.runtime_bytes,
        kinds=kinds(fitted, profile),
    )


def kinds(calibration: Calibration, profile: DeviceProfile) -> list[KindAnswer]:
    """By name, beside what the profile's datasheet allows."""
    found = []
    for name, fit in sorted(calibration.kinds.items()):
        limits = roofline(profile, datasheet_type(name.rpartition(" ")[2]))
        found.append(
            KindAnswer(
                kind=name,
                operations_per_us=fit.operations_per_us,
                bytes_per_us=fit.bytes_per_us,
                overhead_us=fit.overhead_us,
                samples=fit.samples,
                error=fit.error,
                datasheet_operations_per_us=limits.operations_per_us,
                datasheet_bytes_per_us=limits.bytes_per_us,
            )
        )
    return found
