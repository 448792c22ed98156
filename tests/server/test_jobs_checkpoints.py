"""A job's checkpoints live as long as the job may go on."""

from __future__ import annotations

from pathlib import Path

from onnx_files import tiny_onnx

from edgepress_server.jobs.checkpoints import checkpoints_of, forget_ended
from edgepress_server.store import Store
from edgepress_server.store.jobs import Result
from edgepress_server.store.models import ModelFacts


def submitted(store: Store, recipe: str) -> str:
    job = store.jobs.submit(model="tiny", recipe=recipe, profile="raspberry-pi-4", dataset=None, actor=None)
    folder = checkpoints_of(store.data_dir, job.id) / "run"
    folder.mkdir(parents=True)
    (folder / "after-01.npz").write_bytes(b"")
    return job.id


def left(store: Store) -> set[str]:
    folder: Path = checkpoints_of(store.data_dir, "any").parent
    return {one.name for one in folder.iterdir()}


def test_what_has_ended_is_forgotten_and_what_may_go_on_is_kept(store: Store) -> None:
    forget_ended(store)  # nothing there yet
    facts = ModelFacts(len(tiny_onnx()), 48, 12, 12, [], [])
    store.models.add("tiny", store.blobs.put(tiny_onnx()), facts, None, actor=None)
    first, second, third = (submitted(store, recipe) for recipe in ("none", "int8", "deep-compression"))
    done, running = store.jobs.take("w"), store.jobs.take("w")
    assert done is not None
    assert running is not None
    store.jobs.finish(done, Result(store.blobs.put(b"artifact"), 8, {}))
    (checkpoints_of(store.data_dir, "gone") / "run").mkdir(parents=True)
    assert left(store) == {first, second, third, "gone"}
    forget_ended(store)
    assert left(store) == {first, second, third} - {done.id}
