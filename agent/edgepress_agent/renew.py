"""New credentials for a device that has good ones: asked for, kept, shown, and only then used.

    enrolment.json   {mqtt: old}
                     {mqtt: old, offered: new}     on disk before the server hears that we have them
                     {mqtt: new}                   after the server said that the old ones count no more

A power cut leaves one of the three. With the first the next turn asks again; with the second it shows the new
ones again, which the server takes as often as it likes.
"""

import base64
import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgepress_agent.ask_server import RefusedError, ask
from edgepress_agent.credentials import certificate_request, new_key, read_key, write_certificate
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Mqtt, Offered, read_enrolment, rewrite_enrolment
from edgepress_agent.errors import EnrolmentError, StateFolderError
from edgepress_devices.enrolment_rules import Purpose, renewal_transcript, secret_proof
from edgepress_devices.protocol import Count

REQUEST_FILE: Final = "renew.request"  # `edgepress-agent renew` beside a running agent leaves it
LOOK_EVERY_S: Final = 5.0
RETRY_S: Final = (300.0, 3600.0)  # after a failure: anywhere between, so that a fleet does not return at once
REFUSALS: Final = 3  # connections in a row that the broker refused: it may want other credentials now

log = logging.getLogger(__name__)


class _ChallengeAsked(msgspec.Struct):
    device: str


class _Challenge(msgspec.Struct):
    challenge: str


class _RenewalAsked(msgspec.Struct):
    device: str
    challenge: str
    proof: str
    csr: str


class _Renewal(msgspec.Struct):
    mqtt: Mqtt
    certificate: str | None = None
    ca: str | None = None
    renew_at_s: Count = 0


class _ConfirmationAsked(msgspec.Struct):
    device: str
    challenge: str
    proof: str


class _Confirmation(msgspec.Struct):
    device: str


def renew(folder: Path, disk: Disk) -> Enrolment:
    """One renewal, from wherever it stands; the enrolment as it then is on disk.

    Raises EnrolmentError (nothing has changed, or `renew` goes on from there), StateFolderError.
    """
    enrolment = read_enrolment(folder)
    try:
        if enrolment.offered is None:
            enrolment = _ask_for_new(folder, disk, enrolment)
        return _show_new(folder, disk, enrolment)
    except OSError as error:
        raise StateFolderError(
            f"{folder} cannot be written ({error.strerror}); make room, the present credentials stay good"
        ) from error


def _ask_for_new(folder: Path, disk: Disk, enrolment: Enrolment) -> Enrolment:
    key = new_key()
    csr = certificate_request(key)
    challenge = _challenge(enrolment)
    question = _RenewalAsked(
        enrolment.device,
        challenge,
        _proof(folder, "renew", enrolment.device, enrolment.mqtt, challenge, csr),
        csr,
    )
    answer = ask(enrolment.server, "/renew", question, _Renewal, enrolment.ca)
    mqtt = msgspec.structs.replace(answer.mqtt, certificate=None, key=None)
    if answer.certificate is not None:
        names = write_certificate(folder, disk, answer.certificate, key)
        mqtt = msgspec.structs.replace(mqtt, certificate=names[0], key=names[1])
    # The authority that this device pinned at its enrolment stays, whatever the answer says.
    offered = Offered(mqtt, enrolment.ca or answer.ca, answer.renew_at_s)
    enrolment = msgspec.structs.replace(enrolment, offered=offered)
    rewrite_enrolment(folder, disk, enrolment)
    return enrolment


def _show_new(folder: Path, disk: Disk, enrolment: Enrolment) -> Enrolment:
    offered = enrolment.offered
    if offered is None:
        return enrolment
    challenge = _challenge(enrolment)
    question = _ConfirmationAsked(
        enrolment.device,
        challenge,
        _proof(folder, "confirm", enrolment.device, offered.mqtt, challenge, ""),
    )
    try:
        ask(enrolment.server, "/renew/confirm", question, _Confirmation, enrolment.ca)
    except RefusedError as error:
        if error.code == "not_proven":  # the server has offered others since, or was restored: begin again
            rewrite_enrolment(folder, disk, msgspec.structs.replace(enrolment, offered=None))
        raise
    renewed = msgspec.structs.replace(
        enrolment, mqtt=offered.mqtt, ca=offered.ca, renew_at_s=offered.renew_at_s, offered=None
    )
    rewrite_enrolment(folder, disk, renewed)
    return renewed


def _challenge(enrolment: Enrolment) -> str:
    question = _ChallengeAsked(enrolment.device)
    return ask(enrolment.server, "/renew/challenge", question, _Challenge, enrolment.ca).challenge


def _proof(folder: Path, purpose: Purpose, device: str, shown: Mqtt, challenge: str, csr: str) -> str:
    transcript = renewal_transcript(purpose, device, challenge, csr)
    if shown.key is not None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        signature = read_key(folder / shown.key).sign(transcript, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(signature).decode("ascii")
    if shown.password is None:
        raise EnrolmentError("this device has no credentials of its own; enrol it again with a new code")
    return secret_proof(shown.password, transcript)


class Renewal:
    """The running agent's thread for it. ``renewed(mqtt)`` is told what to connect with from now on;
    ``refusals()`` says how often in a row the broker has refused this device.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        *,
        renewed: Callable[[Mqtt], None],
        refusals: Callable[[], int],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._renewed = renewed
        self._refusals = refusals
        self._clock_s = clock_s
        self._enrolment = read_enrolment(folder)
        self._not_before_s = 0.0  # monotonic
        self._rng = random.SystemRandom()

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            self.turn(time.monotonic())
            stop.wait(LOOK_EVERY_S)

    def turn(self, now_s: float) -> None:
        """Renew if it is due. ``now_s``: a clock that only grows."""
        asked = (self._folder / REQUEST_FILE).exists()
        if not asked and (now_s < self._not_before_s or not self._is_due()):
            return
        try:
            if asked:
                self._disk.remove(self._folder / REQUEST_FILE)
            self._enrolment = renew(self._folder, self._disk)
        except (EnrolmentError, StateFolderError, OSError) as error:
            wait_s = self._rng.uniform(*RETRY_S)
            self._not_before_s = now_s + wait_s
            log.warning("credentials were not renewed, again in %.0f min: %s", wait_s / 60, error)
            return
        self._not_before_s = now_s + RETRY_S[0]  # whatever the server says, not without a pause
        log.info("credentials renewed")
        self._renewed(self._enrolment.mqtt)

    def _is_due(self) -> bool:
        enrolment = self._enrolment
        if enrolment.offered is not None:
            return True
        if enrolment.mqtt.tls and self._refusals() >= REFUSALS:
            return True  # a certificate that expired while this device slept, or the broker wants one now
        return 0 < enrolment.renew_at_s <= self._clock_s()
