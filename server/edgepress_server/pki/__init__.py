"""The certificates of one server: an authority of its own, and what that authority signs.

    DIR/pki/ca.pem, ca.key          the authority, made at the first start      10 years, ECDSA P-256
    DIR/pki/server.pem, server.key  what web server and mosquitto show          1 year, renewed 30 days before
    DIR/pki/link.pem, link.key      what the link shows to the broker           1 year, renewed 30 days before
    DIR/pki/crl.pem                 device certificates that were revoked       signed anew every day

Whoever may read ``*.key`` is this server (mode 0600). With ``--tls-cert`` the pair brought along is checked
and copied over ``server.pem`` and ``server.key``; devices then pin ``--tls-ca``, or trust their system's
authorities. Devices and the link keep getting their certificates from the authority here.

``ensure`` makes what is missing or due and may be called at any time; a start that was killed is repeated.
"""

from edgepress_server.pki.authority import Authority, fingerprint, load_authority
from edgepress_server.pki.client_tls import local_context
from edgepress_server.pki.crl import Revoked, crl_is_due, write_crl
from edgepress_server.pki.devices import DeviceCertificate, sign_device_request
from edgepress_server.pki.server_certificate import ensure, trusted_fingerprint, trusted_pem

__all__ = [
    "Authority",
    "DeviceCertificate",
    "Revoked",
    "crl_is_due",
    "ensure",
    "fingerprint",
    "load_authority",
    "local_context",
    "sign_device_request",
    "trusted_fingerprint",
    "trusted_pem",
    "write_crl",
]
