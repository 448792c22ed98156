"""Who vouches for what: the keys, the release statements, the wants and the sealed content keys.

The byte formats are drawn at the head of ``edgepress_devices.protocol``.
"""

from edgepress_server.trust.keys import Keys, create_keys_if_missing, keys_changed, load_keys
from edgepress_server.trust.seal import encrypt_chunk, new_content_key, seal_content_key
from edgepress_server.trust.statement import sign_delta_statement, sign_statement
from edgepress_server.trust.want import WANT_LIFETIME_S, IssuedWant, make_want

__all__ = [
    "WANT_LIFETIME_S",
    "IssuedWant",
    "Keys",
    "create_keys_if_missing",
    "encrypt_chunk",
    "keys_changed",
    "load_keys",
    "make_want",
    "new_content_key",
    "seal_content_key",
    "sign_delta_statement",
    "sign_statement",
]
