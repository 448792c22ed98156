"""What `edgepress-agent status` tells: from the running agent, or from the state folder when none runs."""

import http.client
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import read_enrolment
from edgepress_agent.errors import StateFolderError
from edgepress_agent.journal import Record, read_record
from edgepress_agent.local_limits import read_local_limits
from edgepress_agent.newest import describe_board
from edgepress_agent.profiling_job import ProfilingRecord, read_profiling_record
from edgepress_agent.slots import Slots

ANSWER_MAX_BYTES: Final = 1 << 16
TIMEOUT_S: Final = 3.0


def read_status(folder: Path) -> dict[str, Any]:
    """As ``Agent.status``, with ``agent_running``. Raises EnrolmentError, StateFolderError."""
    try:
        enrolment = read_enrolment(folder)
        live = _ask_agent(folder)
        if live is not None:
            return {**live, "agent_running": True}
        record = read_record(folder / "journal") or Record()
        profiling = read_profiling_record(folder / "profiling" / "record")
        slots = Slots(folder, Disk())
        slot = slots.current()
        info = slots.info(slot) if slot else None
    except OSError as error:
        raise StateFolderError(
            f"the state folder {folder} cannot be read ({error.strerror}): run as the user that owns it, or"
            " give another one with --state"
        ) from error
    return {
        "agent_running": False,
        "device": enrolment.device,
        "profile": enrolment.profile,
        "server": enrolment.server,
        "connected": False,
        "running": info.digest if info else None,
        "running_release": info.release if info else None,
        "model": info.model if info else None,
        "want": record.want,
        "seq": record.seq,
        "step": record.step,
        "reason": record.reason,
        "profiling": _profiling(profiling),
        "rate_bytes_s": read_local_limits(folder).rate_bytes_s,
    }


def describe_status(status: dict[str, Any]) -> str:
    """For people."""
    running = status.get("running")
    model = (
        f"{status.get('model')} ({running[:12]}, release {status.get('running_release')})"
        if running
        else "none"
    )
    rows = [
        ("device", f"{status['device']} ({status['profile']})"),
        ("server", f"{status['server']} ({'connected' if status['connected'] else 'not connected'})"),
        ("agent", f"running at {status['url']}" if status["agent_running"] else "not running"),
        ("model", model if status["agent_running"] or not running else f"{model}, when the agent runs"),
        ("job", status["step"] + (f": {status['reason']}" if status.get("reason") else "")),
    ]
    if status.get("chunks_total"):
        rows.append(("fetched", f"{status.get('chunks_have') or 0} of {status['chunks_total']} chunks"))
        rows.append(("way", _describe_way(status)))
    if status.get("waiting"):
        rows.append(("waiting", str(status["waiting"])))
    if status.get("rate_bytes_s"):
        rows.append(("rate", f"at most {status['rate_bytes_s']} bytes/s"))
    if status.get("profiling"):
        rows.append(("profiling", _describe_profiling(status["profiling"])))
    if status.get("telemetry_waiting"):
        rows.append(("telemetry", f"{status['telemetry_waiting']} batches wait for the server"))
    if status.get("requests"):
        rows.append(("requests", _describe_requests(status["requests"])))
    if status.get("newest"):
        rows += describe_board(status["newest"])
    return "\n".join(f"{name:10}{value}" for name, value in rows)


def _describe_requests(requests: dict[str, Any]) -> str:
    """``1204 answered since the start, 3 failed (2 input, 1 busy), 1 waiting``."""
    failed = {kind: count for kind, count in requests["failed"].items() if count}
    said = f"{requests['answered']} answered since the start"
    if failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items())
        said += f", {sum(failed.values())} failed ({kinds})"
    return said + (f", {requests['waiting']} waiting" if requests.get("waiting") else "")


def _describe_way(status: dict[str, Any]) -> str:
    what = "a delta against the model that runs" if status.get("delta") else "the whole artifact"
    over = {"mqtt": " over MQTT", "https": " over HTTPS"}.get(str(status.get("via")), "")
    received = status.get("received_bytes")
    return f"{what}{over}" + ("" if received is None else f", {received} bytes received")


def _profiling(record: ProfilingRecord) -> dict[str, Any] | None:
    """The newest job as the stopped agent left it."""
    if not record.id:
        return None
    state = "waiting" if record.is_open else record.state
    return {"id": record.id, "state": state, "percent": 0, "reason": record.reason}


def _describe_profiling(job: dict[str, Any]) -> str:
    said = f" {job['percent']} %" if job["state"] == "running" else ""
    return f"{job['id']} {job['state']}{said}" + (f": {job['reason']}" if job.get("reason") else "")


def _ask_agent(folder: Path) -> dict[str, Any] | None:
    """What the running agent says; None when none answers."""
    try:
        address = urlsplit(str(msgspec.json.decode((folder / "http.json").read_bytes())["url"]))
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/status")
            answer = connection.getresponse().read(ANSWER_MAX_BYTES)
        finally:
            connection.close()
        status: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
    except (FileNotFoundError, ConnectionError, TimeoutError, http.client.HTTPException):
        return None
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
    # The port may be another agent's by now.
    return status if status.get("device") == read_enrolment(folder).device else None
