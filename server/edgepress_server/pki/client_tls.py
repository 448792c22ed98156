"""How this server's own processes reach its listeners: they trust the one certificate that it shows."""

from __future__ import annotations

import ssl

from edgepress_server.errors import StoreError
from edgepress_server.settings import Settings


def local_context(settings: Settings, *, with_certificate: bool = False) -> ssl.SSLContext:
    """A client context for this machine: it takes ``server.pem`` itself and nothing else, by whatever name.

    So it works with a certificate brought along for a public name, too, reached at 127.0.0.1.
    ``with_certificate``: shows ``link.pem``, as a broker that asks for certificates wants.
    Raises StoreError.
    """
    folder = settings.pki_dir
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the system's authorities
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=_first(folder.joinpath("server.pem").read_text("ascii")))
        if with_certificate:
            context.load_cert_chain(folder / "link.pem", folder / "link.key")
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        raise StoreError(
            "pki_damaged", f"The certificates in {folder} cannot be used ({error}). Start the server again."
        ) from error
    return context


def _first(pem: str) -> str:
    """The server's own certificate, without the authority that signed it."""
    end = "-----END CERTIFICATE-----"
    return pem.partition(end)[0] + end + "\n"
