"""Who may do what on the broker, as plain rules: the same for every broker that asks this server.

    device NAME   publishes     d/NAME/up/state, telemetry, need
                  subscribes    below d/NAME/down; single chunks, or with + in place of a level; below server
    the server    publishes and subscribes below ep/1; publishes below Home Assistant's prefix

Everything else is denied: other devices' topics, $SYS, $CONTROL, anything shared ($share hands messages to
one of several, so a device could take what is another's).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from edgepress_devices.protocol import DEVICE_NAME, PREFIX

Action = Literal["publish", "subscribe"]

TOPIC_MAX_CHARS: Final = 500
UP_LEAVES: Final = ("state", "telemetry", "need")
CLIENT_ID_PREFIX: Final = "edgepress-"  # agents connect as edgepress-NAME
_LEVEL: Final = re.compile(r"[^+#\x00]*|\+|#")


def may(
    username: str, action: Action, topic: str, *, server_user: str | None, announces: str | None = None
) -> bool:
    """``topic``: a topic to publish on, or a filter to subscribe to. ``announces``: Home Assistant's prefix,
    below which the server may publish."""
    if not 0 < len(topic) <= TOPIC_MAX_CHARS:
        return False
    levels = topic.split("/")
    if not _is_filter(levels) or (action == "publish" and {"+", "#"} & set(levels)):
        return False
    if server_user is not None and username == server_user:
        announced = announces is not None and action == "publish" and covers(f"{announces}/#", topic)
        return announced or covers(f"{PREFIX}/#", topic)
    if not DEVICE_NAME.fullmatch(username):
        return False
    own = f"{PREFIX}/d/{username}"
    if action == "publish":
        return topic in {f"{own}/up/{leaf}" for leaf in UP_LEAVES}
    return any(covers(rule, topic) for rule in (f"{own}/down/#", f"{PREFIX}/c/+/+", f"{PREFIX}/server/#"))


def may_use_client_id(username: str, client_id: str) -> bool:
    """A client id of another device's agent would hang up on that device."""
    return not client_id.startswith(CLIENT_ID_PREFIX) or client_id == f"{CLIENT_ID_PREFIX}{username}"


def covers(rule: str, asked: str) -> bool:
    """Whether a filter asks for nothing beyond the rule, itself a filter (MQTT 5.0, 4.7.1)."""
    rules, levels = rule.split("/"), asked.split("/")
    for n, level in enumerate(rules):
        if level == "#":
            return True
        if n >= len(levels):
            return False
        if level == "+":
            if levels[n] == "#":
                return False
        elif level != levels[n]:
            return False
    return len(levels) == len(rules)


def _is_filter(levels: Sequence[str]) -> bool:
    """Wildcards fill a level; # is the last."""
    return all(_LEVEL.fullmatch(level) for level in levels) and "#" not in levels[:-1]
