"""The process that fits one profile: ``refit_child DATA_DIR PROFILE WORKER ATTEMPT``.

It reads and writes the store itself. The calibration and the end of the fit are one transaction, so wherever
it is killed, the profile is either fitted or due again; and so is each prediction.

Exit status: 0 it finished, 4 the fit is not ours any more, anything else: it crashed.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edgepress_server.errors import ConflictError
from edgepress_server.jobs.child_process import die_with_pipe, settle_in
from edgepress_server.store import Store, open_store
from edgepress_server.store.refits import Refit

log = logging.getLogger("edgepress_server.jobs")

LEASE_LOST = 4


def run_refit(store: Store, refit: Refit) -> None:
    """Fit what is due, else predict what is missing. Raises ConflictError when it is not ours any more."""
    from edgepress_server.jobs.calibrate import calibrate, predict_artifacts

    if refit.fit_due:
        calibrate(store, refit)
    else:
        predict_artifacts(store, refit)
        store.refits.finish(refit)


def main() -> int:
    settle_in()
    die_with_pipe()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    data_dir, profile, worker, attempt = sys.argv[1:]
    store = open_store(Path(data_dir))
    try:
        run_refit(store, store.refits.held(profile, worker, int(attempt)))
    except ConflictError as error:
        log.info("profile %s: %s", profile, error)
        return LEASE_LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
