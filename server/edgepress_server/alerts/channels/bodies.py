"""What receivers read: JSON for programs, the bodies that Slack and Teams take, the text of a mail."""

from __future__ import annotations

import time
from typing import Any, Final, Literal

import msgspec

Template = Literal["edgepress", "slack", "teams"]
TEMPLATES: Final = ("edgepress", "slack", "teams")
_COLOURS: Final = {"critical": "#c0392b", "warning": "#d68910", "info": "#2471a3"}
_STYLES: Final = {"critical": "attention", "warning": "warning", "info": "accent"}
_HEADS: Final = {
    "fired": "fires",
    "more": "fires for more",
    "repeated": "fires still",
    "resolved": "is over",
    "flapping": "comes and goes",
    "calm": "fires, and is calm again",
    "test": "is a test",
}


def headline(notice: dict[str, Any]) -> str:
    """One line: "critical: Requests fail: fires"."""
    return f"{notice['severity']}: {notice['title']} {_HEADS.get(notice['what'], notice['what'])}"


def body(template: Template, notice: dict[str, Any]) -> bytes:
    match template:
        case "slack":
            return msgspec.json.encode(_slack(notice))
        case "teams":
            return msgspec.json.encode(_teams(notice))
    return msgspec.json.encode(notice)


def _slack(notice: dict[str, Any]) -> dict[str, Any]:
    """Incoming webhooks: mrkdwn with &, < and > escaped; also taken by Mattermost, Rocket.Chat and Discord's
    /slack address."""
    said = _escaped(notice["sentence"])
    links = f"<{notice['url']}|Alert> · <{notice['runbook']}|Runbook>"
    over = notice["state"] == "resolved"
    return {
        "text": headline(notice),
        "attachments": [
            {
                "color": "#1e8449" if over else _COLOURS[notice["severity"]],
                "fallback": f"{headline(notice)}: {notice['sentence']}",
                "text": f"{said}\n{links}",
                "mrkdwn_in": ["text"],
            }
        ],
    }


def _teams(notice: dict[str, Any]) -> dict[str, Any]:
    """An adaptive card, as Teams' workflow webhooks take it."""
    over = notice["state"] == "resolved"
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {
                "type": "TextBlock",
                "size": "medium",
                "weight": "bolder",
                "wrap": True,
                "color": "good" if over else _STYLES[notice["severity"]],
                "text": headline(notice),
            },
            {"type": "TextBlock", "wrap": True, "text": notice["sentence"]},
        ],
        "actions": [
            {"type": "Action.OpenUrl", "title": "Alert", "url": notice["url"]},
            {"type": "Action.OpenUrl", "title": "Runbook", "url": notice["runbook"]},
        ],
    }
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


def mail_text(notice: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(notice["opened_at"] / 1000))
    lines = [f"{notice['sentence']}.", "", f"Severity: {notice['severity']}", f"Since: {at}"]
    for name in ("model", "profile", "rollout"):
        if notice[name]:
            lines.append(f"{name.capitalize()}: {notice[name]}")
    if notice["devices"]:
        more = notice["subjects"] - len(notice["devices"])
        also = f" and {more} more" if more > 0 else ""
        lines.append(f"Devices: {', '.join(notice['devices'])}{also}")
    return "\n".join([*lines, "", f"Alert: {notice['url']}", f"What to do: {notice['runbook']}", ""])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
