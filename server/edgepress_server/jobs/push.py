"""Moves pushes on: every look at one is one transaction, so a killed server goes on where it stopped."""

from __future__ import annotations

import logging

from edgepress_server.errors import ServerError
from edgepress_server.store import Store
from edgepress_server.store.pushes import Push
from edgepress_server.trust.keys import Keys

log = logging.getLogger(__name__)


def advance_pushes(store: Store, keys: Keys) -> None:
    """One look at every push that is not over."""
    for push in store.pushes.active():
        try:
            with store.transaction():
                _advance(store, keys, push)
        except ServerError as error:
            if error.status >= 500:  # the store is busy, the disk is full: the next look tries again
                log.warning("push %s waits: %s", push.id, error.message)
            else:
                store.pushes.move(push, "failed", message=error.message)


def _advance(store: Store, keys: Keys, push: Push) -> None:
    if push.state == "compressing":
        _look_at_jobs(store, push)
    elif push.state == "releasing":
        release = store.releases.create(
            keys,
            model=push.model,
            digests=list(push.artifacts.values()),
            note=f"push of {push.recipe}",
            actor=push.actor,
        )
        rollout = store.rollouts.create(
            release.id, devices=push.devices, policy=push.policy, actor=push.actor
        )
        store.pushes.move(push, "rolling_out", release=release.id, rollout=rollout.id)
    elif push.state == "rolling_out" and push.rollout is not None:
        rollout = store.rollouts.summary(push.rollout)
        if rollout.state == "done":
            store.pushes.move(push, "done")
        elif rollout.state in ("aborted", "rolling_back"):
            store.pushes.move(push, "failed", message=f"The rollout was aborted. {rollout.reason}".strip())
        else:
            message = f"Paused: {rollout.reason}" if rollout.state == "paused" else ""
            if rollout.state in ("draft", "signed"):
                message = rollout.waiting  # a signature, a person, its time
            store.pushes.move(push, "rolling_out", message=message)


def _look_at_jobs(store: Store, push: Push) -> None:
    artifacts = dict(push.artifacts)
    for profile, job_id in push.jobs.items():
        job = store.jobs.get(job_id)
        if job.state in ("failed", "cancelled"):
            words = job.message or job.state
            store.pushes.move(push, "failed", message=f"The compression for {profile} ended: {words}")
            return
        if job.state != "done" or job.artifact is None:
            return
        artifacts[profile] = job.artifact
    store.pushes.move(push, "releasing", artifacts=artifacts)
