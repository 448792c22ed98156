"""`edgepress demo`: everything it claims happens, and nothing of it stays behind."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest
from installation import EDGEPRESS, ENV, wait_for

pytestmark = pytest.mark.e2e


def test_the_demo_commits_three_devices_reports_and_cleans_up(tmp_path: Path) -> None:
    env = {**ENV, "EDGEPRESS_DATA": str(tmp_path / "absent"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*EDGEPRESS, "demo", "--check"], env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["devices_committed"] == summary["devices"] == len(summary["profiles"]) == 3
    for profile in summary["profiles"].values():
        assert profile["bytes_after"] < profile["bytes_before"] / 3
        assert profile["accuracy_after"] > profile["accuracy_before"] - 0.03
        assert 0 < profile["device_p50_us"] <= profile["device_p95_us"]
        assert profile["device_rss_bytes"] > 10_000_000
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_every_process_of_the_demo(tmp_path: Path) -> None:
    env = {**ENV, "EDGEPRESS_DATA": str(tmp_path / "absent"), "TMPDIR": str(tmp_path)}
    with tempfile.TemporaryFile() as said:
        demo = subprocess.Popen(
            [*EDGEPRESS, "demo"], env=env, stdout=said, stderr=said, start_new_session=True
        )
        inside = psutil.Process(demo.pid)
        children = wait_for(
            "the server and an agent",
            lambda: found if len(found := inside.children(recursive=True)) > 5 else None,
        )
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(40) == 0
    # One that was ended while it started may wait a moment for the system to take note of its end.
    assert [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE] == []
    assert list(tmp_path.iterdir()) == []
