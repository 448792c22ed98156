"""Sends a notice as a mail: one when an alert fires, one when it is over, all of one alert in one thread.

A channel names the mail server, or leaves that to the environment of the worker: EDGEPRESS_SMTP_HOST, _PORT,
_SECURITY (starttls, tls, none), _USERNAME, _PASSWORD, _FROM.
"""

from __future__ import annotations

import os
import re
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final

from edgepress_server.alerts.channels.bodies import headline, mail_text
from edgepress_server.alerts.channels.delivery import ANSWER_MAX, ANSWER_S, DeliveryError
from edgepress_server.errors import InvalidInputError

ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.:\[\]-]{1,190}")
SECURITIES: Final = ("starttls", "tls", "none")
RECIPIENTS_MAX: Final = 50
ENVIRONMENT: Final = "EDGEPRESS_SMTP_"
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


def check_address(address: str) -> str:
    """Raises InvalidInputError. Nothing that could begin another header line passes."""
    if not ADDRESS.fullmatch(address):
        raise InvalidInputError("bad_address", f"{address[:80]!r} is no mail address.")
    return address


def send(
    options: dict[str, Any],
    secret: str | None,
    notice: dict[str, Any],
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Bring it to the mail server; what that said. Raises DeliveryError."""
    host = options.get("host") or environment.get(ENVIRONMENT + "HOST", "")
    if not host:
        raise DeliveryError(
            "no mail server is known: name one in the channel, or set EDGEPRESS_SMTP_HOST for the server",
            for_good=True,
        )
    own = bool(options.get("host"))  # a password of the environment goes to the environment's server only
    security = _given(options, environment, own, "security") or "starttls"
    if security not in SECURITIES:
        raise DeliveryError(f"EDGEPRESS_SMTP_SECURITY is one of {', '.join(SECURITIES)}", for_good=True)
    port = _port(_given(options, environment, own, "port"), security)
    username = _given(options, environment, own, "username")
    password = secret if own else secret or environment.get(ENVIRONMENT + "PASSWORD")
    sender = options.get("from") or environment.get(ENVIRONMENT + "FROM") or username or f"edgepress@{host}"
    message = compose(sender, options["to"], notice)
    try:
        return _send(str(host), port, security, username, password, message)
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        raise DeliveryError(
            f"the mail server answered {error.smtp_code} {said}"[:ANSWER_MAX], for_good=error.smtp_code >= 500
        ) from error
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryError(
            f"the mail server takes mail for none of {', '.join(error.recipients)}"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise DeliveryError(
            f"the mail server's certificate is not trusted: {error.verify_message}"
        ) from error
    except UnicodeError as error:
        raise DeliveryError(f"{host[:80]!r} is no name of a mail server", for_good=True) from error
    except (smtplib.SMTPException, OSError) as error:
        why = getattr(error, "strerror", None) or (error.args[0] if error.args else "it broke off")
        raise DeliveryError(f"the mail server {host}:{port} could not be used: {why}"[:ANSWER_MAX]) from error


def compose(sender: str, to: list[str], notice: dict[str, Any]) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Date"] = formatdate()
    host = sender.rpartition("@")[2] or "edgepress"
    message["Message-ID"] = f"<{notice['id']}@{host}>"  # the same when it is sent a second time
    if notice["alert"]:
        message["References"] = f"<{notice['alert']}@{host}>"
    message["Subject"] = " ".join(f"[edgepress] {headline(notice)}".split())
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail_text(notice))
    return message


def _send(
    host: str, port: int, security: str, username: Any, password: str | None, message: EmailMessage
) -> str:
    context = ssl.create_default_context()
    if security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=ANSWER_S, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=ANSWER_S)
    with server:
        if security == "starttls":
            server.starttls(context=context)
        if username and password:
            server.login(str(username), password)
        refused = server.send_message(message)
    taken = len(message["To"].split(", ")) - len(refused)
    return f"taken for {taken} recipients" + (f", refused for {', '.join(refused)}" if refused else "")


def _given(options: dict[str, Any], environment: Mapping[str, str], own: bool, name: str) -> Any:
    if own:
        return options.get(name)
    return environment.get(ENVIRONMENT + name.upper())


def _port(given: Any, security: str) -> int:
    try:
        return int(given) if given else _PORTS[security]
    except ValueError as error:
        raise DeliveryError("EDGEPRESS_SMTP_PORT is no number", for_good=True) from error
