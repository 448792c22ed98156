"""Fits one profile to the reports of its devices, and decides whether the result is used.

reports --fit (robust: rejects devices, with reasons)--> calibration
  nothing calibrated before       -> used; said beside the datasheet's error on the same nets
  better, or about as good        -> used: it is of what the devices do now
  worse, both fitted without the nets that they are judged on -> kept in the history, not used, and said
"""

from __future__ import annotations

import logging
from typing import Final

from edgepress_compression.calibrate.fit import CalibrationError, DeviceReport, fit
from edgepress_compression.predict import runtime_layout
from edgepress_devices.calibration import Calibration
from edgepress_devices.prediction import predict
from edgepress_devices.profile import DeviceProfile
from edgepress_server.jobs.compare_fits import error_left_out, error_on, truth_of
from edgepress_server.predict import ExecutedModels
from edgepress_server.predict.executed import NotPredictableError
from edgepress_server.store import Store
from edgepress_server.store.artifact_predictions import Predicted
from edgepress_server.store.calibrations import CalibrationRow, basis_of
from edgepress_server.store.refits import Refit

log = logging.getLogger(__name__)

AS_GOOD: Final = (
    1.15,
    0.01,
)  # times the error before, plus: by so much two fits of one device differ by noise
EXECUTED_S: Final = 180.0  # to work out what one artifact executes


def calibrate(store: Store, refit: Refit) -> CalibrationRow | None:
    """Store the calibration and the end of the fit together; None: it gave none, which is said.

    Raises ConflictError when the fit is not this worker's any more.
    """
    profile = store.profiles.resolve(refit.profile)
    active = store.calibrations.active_row(refit.profile)
    if active is not None and active.basis != basis_of(profile):
        active = None  # of figures that are no longer the profile's
    reports = _reports(store, refit.reports)
    try:
        fitted = fit(reports, profile)
    except CalibrationError as error:
        log.warning("profile %s: %s", refit.profile, error)
        store.refits.finish(refit, str(error))
        return None
    before, after = _errors(store, fitted, reports, profile, active)
    activate = active is None or before is None or after <= before * AS_GOOD[0] + AS_GOOD[1]
    message = _message(fitted, before, after, activate=activate, calibrated=active is not None)
    log.info("profile %s: %s", refit.profile, message)
    with store.transaction():
        row = store.calibrations.put(
            refit.profile,
            fitted,
            basis=basis_of(profile),
            reports=refit.reports,
            error_before=before,
            error_after=after,
            message=message,
            activate=activate,
        )
        store.refits.finish(refit)
        return row


def _reports(store: Store, ids: tuple[int, ...]) -> list[DeviceReport]:
    return [
        DeviceReport(device=one.row.device, report=one.report) for one in store.profiling.reports.those(ids)
    ]


def _errors(
    store: Store,
    fitted: Calibration,
    reports: list[DeviceReport],
    profile: DeviceProfile,
    active: CalibrationRow | None,
) -> tuple[float | None, float]:
    """(of what holds now, of the new one), on the same nets. None: what holds now cannot be judged."""
    truth = truth_of(reports, profile, fitted.devices)
    new = fitted.error.model_median
    if active is None:
        return error_on(truth, profile), new
    old_reports = _reports(store, active.reports)
    if len(old_reports) < len(active.reports):
        return None, new
    old_error = error_left_out(old_reports, truth, profile)
    new_error = error_left_out(reports, truth, profile)
    return old_error, new if new_error is None else new_error


def _message(
    fitted: Calibration, before: float | None, after: float, *, activate: bool, calibrated: bool
) -> str:
    devices = "1 device" if len(fitted.devices) == 1 else f"{len(fitted.devices)} devices"
    was = "" if before is None else f"{_percent(before)} -> "
    said = f"prediction error {was}{_percent(after)} on nets left out of the fit ({devices})"
    if fitted.rejected:
        said += f"; left out: {', '.join(one.device for one in fitted.rejected)}"
    if not activate:
        return f"Not used, as the calibration before predicts better: {said}."
    return f"{'Calibrated anew' if calibrated else 'Calibrated'}: {said}."


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %" if fraction >= 0.095 else f"{100 * fraction:.1f} %"


def predict_artifacts(store: Store, refit: Refit) -> None:
    """Predict what the profile's devices run, for telemetry to be compared with. Raises ServerError."""
    profile = store.profiles.resolve(refit.profile)
    identity = store.refits.identity(refit.profile)
    executed = ExecutedModels(store.data_dir / "executed")
    for digest in refit.predict:
        predicted = _predict(store, executed, digest, profile)
        store.artifact_predictions.put(refit.profile, digest, identity, predicted)


def _predict(store: Store, executed: ExecutedModels, digest: str, profile: DeviceProfile) -> Predicted | None:
    try:
        runs = executed.get(
            "artifact", digest, store.blobs.path(digest), runtime_layout(profile), wait_s=EXECUTED_S
        )
    except NotPredictableError as error:
        log.warning("artifact %s cannot be predicted: %s", digest[:12], error)
        return None
    if runs is None:
        log.warning("artifact %s was not predicted: its operators are not known yet", digest[:12])
        return None
    told = predict(
        runs.operators,
        profile,
        weight_bytes=runs.weight_bytes,
        peak_activation_bytes=runs.peak_activation_bytes,
    )
    return Predicted(told.latency_us, told.basis, told.error)
