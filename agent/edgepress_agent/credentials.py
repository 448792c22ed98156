"""What this device shows to the broker: a secret, or a certificate for a key that never leaves it.

::

    mqtt-<serial>.pem, mqtt-<serial>.key      named by ``Mqtt.certificate`` and ``Mqtt.key``      0600

The names are new for each certificate, so what ``enrolment.json`` names is whole at any moment.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress_agent.durable import Disk
from edgepress_agent.errors import EnrolmentError

if TYPE_CHECKING:  # megabytes that a running agent needs once in years
    from cryptography.hazmat.primitives.asymmetric import ec


def new_key() -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def certificate_request(key: "ec.EllipticCurvePrivateKey") -> str:
    """PKCS #10 in PEM. The name in it means nothing: the server knows who asks."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgepress device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode("ascii")


def write_certificate(
    folder: Path, disk: Disk, pem: str, key: "ec.EllipticCurvePrivateKey"
) -> tuple[str, str]:
    """Write both; the names of the files. Raises EnrolmentError when the certificate is not for this key,
    OSError.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError as error:  # UnicodeEncodeError too
        raise EnrolmentError("the certificate that the server sent is none; ask its operator") from error
    kind = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*kind) != key.public_key().public_bytes(*kind):
        raise EnrolmentError("the server sent a certificate for another key than this device's")
    stem = f"mqtt-{certificate.serial_number:x}"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    disk.write_whole(folder / f"{stem}.key", private)
    disk.write_whole(folder / f"{stem}.pem", certificate.public_bytes(Encoding.PEM))
    return f"{stem}.pem", f"{stem}.key"


def read_key(path: Path) -> "ec.EllipticCurvePrivateKey":
    """Raises EnrolmentError."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise EnrolmentError(
            f"the key of this device's certificate, {path}, cannot be read ({error}); enrol it again"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrolmentError(f"{path} is no key of this device; enrol it again with --force")
    return key


def sweep_certificates(folder: Path, disk: Disk, kept: set[str]) -> None:
    """Remove certificates and keys that nothing names any more."""
    for path in [*folder.glob("mqtt-*.pem"), *folder.glob("mqtt-*.key")]:
        if path.name not in kept:
            disk.remove(path)
