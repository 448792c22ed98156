"""Which authority the command line trusts for a server: kept by `edgepress login`, one for each address."""

import json
import os
import ssl
import warnings
from pathlib import Path
from typing import Final

import click
import urllib3

from edgepress_devices.enrolment_rules import fingerprint_fits, is_fingerprint

CA_MAX_BYTES: Final = 65_536
ENVIRONMENT: Final = "EDGEPRESS_CA"  # file that wins over what was kept


def authorities_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "edgepress" / "authorities.json"


def saved_authorities() -> dict[str, str]:
    """``{server URL: PEM}``; empty when nothing was kept."""
    try:
        saved = json.loads(authorities_path().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"{authorities_path()} cannot be read ({error}); delete it and run `edgepress login` again"
        ) from error
    return {str(k): str(v) for k, v in saved.items()} if isinstance(saved, dict) else {}


def save_authority(url: str, pem: str) -> Path:
    """Keep it, for this address only: aside, then in place."""
    path = authorities_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({**saved_authorities(), url: pem}, indent=1))
    aside.replace(path)
    return path


def context_for(url: str, ca: str | None) -> ssl.SSLContext:
    """``ca`` (PEM), else EDGEPRESS_CA, else what was kept for this address, else the system's authorities."""
    pem = ca
    named = os.environ.get(ENVIRONMENT)
    if pem is None and named:
        pem = read_authority(Path(named))
    if pem is None:
        pem = saved_authorities().get(url)
    try:
        context = ssl.create_default_context(cadata=pem)
    except ssl.SSLError as error:
        raise click.ClickException(
            f"the authority that is to be trusted for {url} is no certificate in PEM; give another with --ca"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_authority(file: Path) -> str:
    """Raises ClickException."""
    try:
        with file.open("rb") as opened:
            data = opened.read(CA_MAX_BYTES + 1)
        if len(data) > CA_MAX_BYTES or b"-----BEGIN CERTIFICATE-----" not in data:
            raise click.ClickException(f"{file} is no certificate in PEM")
        return data.decode("ascii")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file} is no certificate in PEM") from error


def fetch_authority(url: str, fingerprint: str) -> str:
    """The authority of the server at ``url`` (PEM), believed only because its fingerprint is known.

    Raises ClickException.
    """
    fingerprint = fingerprint.strip().upper()
    if not is_fingerprint(fingerprint):
        raise click.BadParameter("it has 32 symbols, A-Z and 2-7", param_hint="--fingerprint")
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # what comes is compared before anything else is sent
    pool = urllib3.PoolManager(retries=False, timeout=10.0, ssl_context=unverified)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)  # it is meant
            answer = pool.request("GET", f"{url}/api/v1/ca.pem", preload_content=False, redirect=False)
        pem = answer.read(CA_MAX_BYTES + 1).decode("ascii")
        der = ssl.PEM_cert_to_DER_cert(pem) if answer.status == 200 else b""
    except (urllib3.exceptions.HTTPError, UnicodeDecodeError, ValueError) as error:
        raise click.ClickException(f"no edgepress server gives its authority at {url}") from error
    finally:
        pool.clear()
    if not fingerprint_fits(fingerprint, der):
        raise click.ClickException(
            f"the server at {url} is another one than this fingerprint says, or somebody stands in between: "
            "check the address, and the fingerprint that the server prints at its start"
        )
    return ssl.DER_cert_to_PEM_cert(der)  # what was compared, and nothing that may stand after it
