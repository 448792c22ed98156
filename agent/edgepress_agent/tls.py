"""TLS towards the one server that enrolled this device: its authority and no other.

A board without a battery starts in 1970, when no certificate is valid yet. Where the clock is before this
software was made it says nothing, so dates of certificates are not checked then; signatures and names are.
"""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgepress_agent.clock import NO_CLOCK_S

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h); Python has no name for it


def client_context(
    ca: str | None,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    clock_s: Callable[[], float] = time.time,
) -> ssl.SSLContext:
    """``ca``: PEM to trust; None = the system's authorities. Raises OSError (ssl.SSLError among them)."""
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if clock_s() < NO_CLOCK_S:
        context.verify_flags |= _NO_CHECK_TIME
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def in_words(error: BaseException) -> str:
    """Why a connection did not come about, for people: the system's words, at the root of the error."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        wrapped = [getattr(error, "reason", None), *error.args, error.__cause__]
        inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
