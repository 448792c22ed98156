"""Who this device is: what enrolment left in the state folder.

::

    enrolment.json   Enrolment, with the broker's credentials      0600
    key              the device's X25519 private key, 32 raw bytes 0600
    root.json        the pinned TUF root
    mqtt-*.pem, .key what it shows to a broker that asks for certificates, see credentials     0600
    roots/           its successors, see root_chain
"""

import hashlib
import logging
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tuf.api.metadata import Metadata, Root

from edgepress_agent.credentials import sweep_certificates
from edgepress_agent.durable import Disk
from edgepress_agent.errors import EnrolmentError
from edgepress_agent.root_chain import FOLDER as ROOTS_FOLDER
from edgepress_agent.root_chain import RootChain, director_id
from edgepress_agent.seal import device_key_bytes, read_device_key
from edgepress_agent.trust import load_root
from edgepress_devices.profile import DeviceProfile, ProfileError, load_profile
from edgepress_devices.protocol import DEVICE_NAME, Count, Text

log = logging.getLogger(__name__)

FILE_MAX_BYTES: Final = 1 << 20


class Mqtt(msgspec.Struct, frozen=True):
    """How to reach the broker."""

    host: Text
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    tls: bool = False
    username: Text | None = None
    password: Text | None = None
    ca: str | None = None  # PEM of the authority that signs the broker's certificate; None = the system's
    certificate: Text | None = None  # file in the state folder; None = name and password are shown
    key: Text | None = None


class Offered(msgspec.Struct, frozen=True):
    """New credentials that the server has given, and that it has not seen yet."""

    mqtt: Mqtt
    ca: str | None = None
    renew_at_s: Count = 0


class Enrolment(msgspec.Struct, frozen=True):
    device: Annotated[str, msgspec.Meta(pattern=rf"^{DEVICE_NAME.pattern}$")]
    profile: Text
    server: Text  # URL of the server that enrolled this device
    mqtt: Mqtt
    enrolled_at_s: Count  # Unix seconds, the server's clock
    resolved_profile: dict[str, Any] | None = None  # its figures, where it is the server's own or overridden
    ca: str | None = None  # PEM of the authority that signs the web server's certificate; None = the system's
    renew_at_s: Count = 0  # Unix seconds, when to ask for new credentials; 0 = only when told to
    offered: Offered | None = None  # a renewal that is half done

    def device_profile(self) -> DeviceProfile | None:
        """The figures that the server gave, else those this agent's version ships; None: it knows neither.

        Without them, cores and power are what the board says.
        """
        if self.resolved_profile is not None:
            try:
                return msgspec.convert(self.resolved_profile, DeviceProfile)
            except msgspec.ValidationError as error:  # another version's
                log.warning("the figures of profile %s are not understood: %s", self.profile, error)
        try:
            return load_profile(self.profile)
        except ProfileError:
            return None


class Identity:
    """Everything that enrolment gave, read and checked, and the TUF roots since. Raises EnrolmentError."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.enrolment = read_enrolment(folder)
        self.key: X25519PrivateKey = read_device_key(folder / "key")
        anchor = _read(folder / "root.json", "the pinned TUF root")
        self._chain = RootChain(folder, load_root(anchor), disk or Disk())
        # Models and counters belong to this pair; with another one the device begins anew.
        name = self.enrolment.device.encode("ascii")
        self.fingerprint = hashlib.sha256(name + b"\0" + anchor).hexdigest()

    @property
    def root(self) -> Metadata[Root]:
        """The newest TUF root that this device trusts."""
        return self._chain.newest

    @property
    def root_version(self) -> int:
        return self._chain.version

    @property
    def director_id(self) -> str:
        """Changes when the director's keys do: floors of wants and of signed time then begin again."""
        return director_id(self._chain.newest)

    def update_root(self, payload: bytes) -> None:
        """Trust the successor of the newest root from now on. Raises RootError, OSError (nothing changed)."""
        self._chain.append(payload)


def is_enrolled(folder: Path) -> bool:
    return (folder / "enrolment.json").is_file()


def read_enrolment(folder: Path) -> Enrolment:
    """Raises EnrolmentError."""
    if not is_enrolled(folder):
        raise EnrolmentError(
            f"this device is not enrolled ({folder} holds no enrolment): register it on the server with"
            " `edgepress device register NAME --profile PROFILE`, then run `edgepress-agent enroll CODE` here"
        )
    data = _read(folder / "enrolment.json", "the enrolment")
    try:
        return msgspec.json.decode(data, type=Enrolment)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EnrolmentError(
            f"{folder / 'enrolment.json'} is damaged ({error}); enrol this device again with --force"
        ) from error


def write_enrolment(
    folder: Path, disk: Disk, *, enrolment: Enrolment, key: X25519PrivateKey, root: bytes
) -> None:
    """``enrolment.json`` comes last: while it is not there (or still the old one) nothing has happened."""
    disk.remove(folder / ROOTS_FOLDER)  # they follow another anchor
    disk.write_whole(folder / "key", device_key_bytes(key))
    disk.write_whole(folder / "root.json", root)
    rewrite_enrolment(folder, disk, enrolment)


def rewrite_enrolment(folder: Path, disk: Disk, enrolment: Enrolment) -> None:
    """Of the same device, with other credentials. What it names no more is removed afterwards."""
    disk.write_whole(folder / "enrolment.json", msgspec.json.format(msgspec.json.encode(enrolment), indent=2))
    shown = [enrolment.mqtt] + ([enrolment.offered.mqtt] if enrolment.offered else [])
    sweep_certificates(
        folder, disk, {name for mqtt in shown for name in (mqtt.certificate, mqtt.key) if name}
    )


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise EnrolmentError(
            f"{what} cannot be read from {path} ({error.strerror}); enrol this device again with --force"
        ) from error
    if len(data) > FILE_MAX_BYTES:
        raise EnrolmentError(f"{path} is too large to be {what}; enrol this device again with --force")
    return data
