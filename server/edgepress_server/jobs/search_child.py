"""The process that takes part in one search: ``search_child DATA_DIR SEARCH WORKER``.

Every trial that is done is in the store before the next one begins, so wherever it is killed, the next
process goes on with what was known; the trial it had in hand is taken over. The last one who has nothing left
to do ends the search: artifacts of the front first as blobs, then their rows and the search's end in one
transaction.

Exit status: 0 the search has its end, or others go on with it; 4 it is not ours any more; 5 a compression
waits for this worker, which comes back; anything else: it crashed, and the worker decides.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgepress_compression.errors import CompressionCancelledError, EdgepressError
from edgepress_compression.search.budget import Budget
from edgepress_devices.profile import DeviceProfile, ProfileError
from edgepress_server.errors import StoreError
from edgepress_server.jobs.child_process import SEAT_LOST, YIELDED, die_with_pipe, settle_in
from edgepress_server.jobs.inputs import linked_dataset, linked_model
from edgepress_server.jobs.measure import Measurements
from edgepress_server.jobs.progress_rows import ProgressRows
from edgepress_server.jobs.search_log import SearchYieldedError, StoreTrialLog
from edgepress_server.jobs.search_outcome import outcome_of
from edgepress_server.store import Store, open_store
from edgepress_server.store.searches import Search, Seat, SeatLostError

if TYPE_CHECKING:
    from edgepress_compression.search.trial import SearchResult

log = logging.getLogger("edgepress_server.searches")

Run = Callable[..., "SearchResult | None"]  # edgepress_server.jobs.search_part.take_part


def run_search(store: Store, seat: Seat, cancelled: threading.Event, run: Run) -> Search:
    """Take part until nothing is left to do. Returns the search as it is then.

    Raises SeatLostError when it is not ours any more, SearchYieldedError, CompressionCancelledError.
    """
    try:
        result = _search(store, seat, cancelled, run)
    except (CompressionCancelledError, SeatLostError):
        raise
    except (EdgepressError, ProfileError) as error:
        if isinstance(error, StoreError) and error.code != "blob_damaged":
            raise  # the store may be back for the next attempt
        return store.searches.fail(seat, str(error))
    except MemoryError:
        return store.searches.fail(
            seat,
            "There is not enough memory on the server for this model. Free some, or take a smaller model.",
        )
    if result is None:
        return store.searches.leave(seat)  # the last one ends it
    outcome, kept = outcome_of(store, store.searches.get(seat.search), result)
    return store.searches.finish(seat, outcome, kept)


def _search(store: Store, seat: Seat, cancelled: threading.Event, run: Run) -> SearchResult | None:
    search = store.searches.get(seat.search)
    options: dict[str, Any] = search.options
    measurements = Measurements(store, seat, options.get("device"), cancelled)
    seconds = max(0.0, float(options["seconds"]) - search.spent_ms / 1000)
    with tempfile.TemporaryDirectory(dir=store.blobs.aside(), prefix="search-") as folder:
        return run(
            linked_model(store, search.model, Path(folder)),
            _profile(store, seat, search),
            linked_dataset(store, search.dataset, Path(folder)),
            msgspec.convert(search.budget, Budget),
            log=StoreTrialLog(store, seat),
            seconds=seconds,
            trials=options.get("trials"),
            seed=int(options.get("seed", 0)),
            shared=int(options["workers"]) > 1,
            is_last=lambda: store.searches.is_last(seat),
            progress=ProgressRows(
                lambda now: store.searches.say(seat, now.step, now.message), SeatLostError, cancelled
            ),
            cancelled=cancelled.is_set,
            measure_on_device=measurements if measurements.device is not None else None,
        )


def _profile(store: Store, seat: Seat, search: Search) -> DeviceProfile:
    """As it was when the search began: a calibration in its middle would make its trials of two kinds."""
    now = msgspec.json.encode(store.profiles.resolve(search.profile)).decode()
    return msgspec.json.decode(store.search_trials.pin(seat, now), type=DeviceProfile)


def main() -> int:
    settle_in()
    die_with_pipe()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    data_dir, search_id, worker = sys.argv[1:]
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: cancelled.set())
    store = open_store(Path(data_dir))
    seat = Seat(search_id, worker)
    try:
        search = store.searches.check(seat)
        from edgepress_server.jobs.search_part import take_part

        log.info("search %s: %s for %s, %s", search.id, search.model, search.profile, search.budget)
        ended = run_search(store, seat, cancelled, take_part)
    except SearchYieldedError:
        log.info("search %s: a compression goes first", search_id)
        return YIELDED
    except (SeatLostError, CompressionCancelledError) as error:
        log.info("search %s: %s", search_id, error)
        return SEAT_LOST
    log.info("search %s: %s %s", ended.id, ended.state, ended.message)
    return 0


if __name__ == "__main__":
    sys.exit(main())
