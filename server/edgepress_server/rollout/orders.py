"""What a device is told: the want, signed by the director, with all that rollout and fleet say about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import msgspec

from edgepress_devices.protocol import Delivery, DeltaOffer, Shadow
from edgepress_server.errors import ConflictError, InvalidInputError
from edgepress_server.store import Store
from edgepress_server.store.delivery import as_delivery
from edgepress_server.store.deltas import SignedDelta
from edgepress_server.store.devices import Device
from edgepress_server.store.rollout_policy import Policy
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.seal import seal_content_key
from edgepress_server.trust.ticket import make_ticket
from edgepress_server.trust.want import WANT_LIFETIME_S, make_want


class NoDeltaError(ConflictError):
    """The policy allows deltas only, and there is none from what the device runs."""


@dataclass(frozen=True)
class Target:
    """What a device is to run, and which rollout and release say so; digest None: nothing."""

    rollout: str | None
    release: str | None
    digest: str | None


class Orders:
    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def issue(self, device: str, target: Target) -> int:
        """Sign and store a want; its counter.

        Raises InvalidInputError, NotFoundError, ConflictError (the release is not signed, or withdrawn and
        the device does not run it), NoDeltaError.
        """
        known = self._store.devices.get(device)
        policy = self._store.rollout_reads.policy(target.rollout) or Policy(delta="never")
        delta = self._delta(known, target, policy)
        try:
            return self._issue(known, target, policy, delta)
        except InvalidInputError as error:
            if error.code != "want_too_large" or delta is None or policy.delta == "only":
                raise
        # With many signatures both statements do not fit into one message: the full artifact it is.
        return self._issue(known, target, policy, None)

    def _issue(self, device: Device, target: Target, policy: Policy, delta: SignedDelta | None) -> int:
        store = self._store
        now = datetime.fromtimestamp(store.now_ms() / 1000, UTC)
        public_key = device.public_key or ""
        job = store.profiling.current(device.name)
        sampling = store.sampling.of(device.name)
        if target.digest is None:
            make = partial(make_want, self._keys, device=device.name, now=now, sampling=sampling)
        else:
            make = partial(
                make_want,
                self._keys,
                device=device.name,
                now=now,
                sampling=sampling,
                public_key=public_key,
                digest=target.digest,
                size=store.releases.artifact_bytes(target.digest),
                statement=self._statement(device, target),
                content_key=store.releases.content_key(target.digest),
                limits=policy.limits,
                shadow=_shadow(policy),
                delivery=self._delivery(device.name, policy),
                delta=self._offer(device, delta),
                ticket=make_ticket(
                    store.delivery.ticket_secret(),
                    device=device.name,
                    digest=target.digest,
                    expires_s=store.now_ms() // 1000 + WANT_LIFETIME_S,
                ),
            )
        if job is not None:
            store.profiling.set_sent(job.id)
        return store.wants.issue(
            device.name,
            lambda counter: make(counter=counter, profiling=None if job is None else job.as_message()),
            rollout=target.rollout,
            release=target.release,
            digest=target.digest,
            public_key=public_key,
            profiling=None if job is None else job.id,
            delta=None if delta is None else delta.digest,
        )

    def _statement(self, device: Device, target: Target) -> str:
        """Nobody is told to install a withdrawn release; who runs it keeps its order."""
        releases, release, digest = self._store.releases, target.release or "", target.digest or ""
        try:
            return releases.statement(release, digest)
        except ConflictError as error:
            runs = device.state is not None and device.state.running == digest
            if error.code != "release_withdrawn" or not runs:
                raise
            return releases.statements(release)[digest]

    def _delta(self, device: Device, target: Target, policy: Policy) -> SignedDelta | None:
        if target.digest is None:
            return None
        base = device.state.running if device.state is not None else None
        found = None
        if policy.delta != "never" and base is not None and base != target.digest:
            found = self._store.deltas.offer(target.release or "", target.digest, base)
        if policy.delta == "only" and found is None and base != target.digest:
            raise NoDeltaError(
                "no_delta", "there is no delta from what it runs, and the policy allows nothing else"
            )
        return found

    def _offer(self, device: Device, delta: SignedDelta | None) -> DeltaOffer | None:
        if delta is None:
            return None
        key = self._store.releases.content_key(delta.digest)
        return DeltaOffer(
            statement=json.loads(delta.statement),
            sealed_key=seal_content_key(
                key, public_key=device.public_key or "", device=device.name, digest=delta.digest
            ),
        )

    def _delivery(self, device: str, policy: Policy) -> Delivery:
        now = datetime.fromtimestamp(self._store.now_ms() / 1000, UTC)
        also = Delivery() if policy.delivery is None else as_delivery(policy.delivery, now)
        also = msgspec.structs.replace(also, full=policy.delta != "only")
        return self._store.delivery.rules(device, also)


def _shadow(policy: Policy) -> Shadow | None:
    rules = policy.shadow
    if rules is None:
        return None
    return Shadow(
        seconds=rules.seconds,
        requests=rules.requests,
        min_agreement_ppm=round(rules.min_agreement * 1_000_000),
        min_requests=rules.min_requests,
    )
