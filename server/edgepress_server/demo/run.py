"""The demo's steps, in the order a person would take them, each through the door a person would use."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from edgepress_server.cli.client import Api, ApiFailure

from .fleet import DEVICES, DemoDevice, DemoModel, find_model, record_inputs
from .processes import DemoFailure, Processes

START_SECONDS = 60.0
COMMIT_SECONDS = 180.0
TELEMETRY_SECONDS = 30.0
MEASURE_SECONDS = 15.0  # of live inference behind the figures of the summary
HOUR_MS = 3_600_000  # a chart step that holds it all
EDGEPRESS = [sys.executable, "-m", "edgepress_server.cli.main"]
AGENT = [sys.executable, "-m", "edgepress_agent"]
RATE_PER_SECOND = 3.0  # inferences per device; three models share this machine with the server


class Demo:
    """One run in one folder. Use as a context manager: leaving it ends every process."""

    def __init__(self, work_dir: Path, port: int, console: Console) -> None:
        self.seconds: dict[str, float] = {}
        self.url = ""
        self.password = ""
        self._work = work_dir
        self._port = port
        self._console = console
        self._processes = Processes(work_dir / "log")
        self._env: dict[str, str] = {}

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *exc: object) -> None:
        self._processes.stop()

    def run(self) -> dict[str, Any]:
        """All steps. Returns the summary. Raises DemoFailure."""
        with self._step("Starting the server with its embedded broker"):
            api = self._start_server()
        with self._step("Registering three devices, enrolling and starting their agents"):
            for device in DEVICES:
                self._start_agent(device)
            self._wait_online(api)
        with self._step("Adding the model and its labelled data set"):
            model = find_model(self._work)
            self._cli("dataset", "add", str(model.dataset), "--name", model.dataset_name)
            self._cli("model", "add", str(model.file), "--name", model.name, "--dataset", model.dataset_name)
        artifacts = {}
        for device in DEVICES:
            with self._step(f"Compressing {model.name} for {device.profile}: {device.recipe}") as say:
                artifacts[device.profile] = self._compress(api, model, device, say)
        with self._step("Signing the release and rolling it out over MQTT"):
            rollout = self._roll_out(api, model, list(artifacts.values()))
        with self._step("Asking each device's model live and waiting for its own figures") as say:
            self._start_programs(model)
            reported = self._wait_telemetry(api, say)
        return self._summary(api, model, rollout, reported)

    def keep_running(self) -> None:
        """Until Ctrl-C. Raises DemoFailure when a process ends by itself."""
        while True:
            self._processes.check()
            time.sleep(0.5)

    @contextmanager
    def _step(self, title: str) -> Iterator[Any]:
        begun = time.monotonic()
        with self._console.status(f"{title} ...") as status:
            if not self._console.is_terminal:
                self._console.print(f"... {title}")
            yield lambda text: status.update(f"{title} ... {text}")
        took = self.seconds[title] = round(time.monotonic() - begun, 1)
        self._console.print(f"[green]ok[/] {title} ({took:.1f} s)")

    def _start_server(self) -> Api:
        data = self._work / "server"
        command = ["serve", "--data", str(data), "--port", str(self._port), "--mqtt-port", "0"]
        self._processes.start("server", [*EDGEPRESS, *command])
        ready = self._processes.wait_for(
            "the server's start", lambda: _read_json(data / "ready.json"), START_SECONDS
        )
        self.url = ready["url"]
        self.password = _first_password(self._processes.log("server").read_text())
        session = Api(self.url, None).sign_in("admin", self.password)
        token = session.post("/tokens", {"name": "demo"})["token"]
        self._env = {"EDGEPRESS_URL": self.url, "EDGEPRESS_TOKEN": token}
        return Api(self.url, token)

    def _cli(self, *args: str) -> Any:
        """Run ``edgepress ... --json`` as a person would. Raises DemoFailure with what it said."""
        said = _run([*EDGEPRESS, *args, "--json"], self._env, f"edgepress {args[0]} {args[1]}")
        return json.loads(said)

    def _start_agent(self, device: DemoDevice) -> None:
        labels = [part for label in device.labels for part in ("--label", label)]
        made = self._cli("device", "register", device.name, "--profile", device.profile, *labels)
        state = str(self._agent_dir(device))
        _run([*AGENT, "enroll", made["enrol_url"], "--state", state], {}, "edgepress-agent enroll")
        self._processes.start(device.name, [*AGENT, "run", "--state", state, "--http-port", "0"])

    def _agent_dir(self, device: DemoDevice) -> Path:
        return self._work / "agents" / device.name

    def _wait_online(self, api: Api) -> None:
        def all_online() -> bool | None:
            return all(d["status"] == "online" for d in api.get("/devices")) or None

        self._processes.wait_for("all three agents coming online", all_online, START_SECONDS)

    def _compress(self, api: Api, model: DemoModel, device: DemoDevice, say: Any) -> dict[str, Any]:
        jobs = api.post("/jobs", {"model": model.name, "recipe": device.recipe, "profiles": [device.profile]})

        def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = api.get(f"/jobs/{jobs[0]['id']}")
            say(f"{100 * job['progress']:.0f} % {job['message'] or job['step']}")
            return job if job["state"] not in {"queued", "running"} else None

        job = self._processes.wait_for(f"the compression for {device.profile}", ended, 600)
        if job["state"] != "done":
            raise DemoFailure(
                f"the compression for {device.profile} ended as {job['state']}: {job['message']}"
            )
        found: dict[str, Any] = api.get(f"/artifacts/{job['artifact']}")
        return found

    def _roll_out(self, api: Api, model: DemoModel, artifacts: list[dict[str, Any]]) -> dict[str, Any]:
        chosen = [part for a in artifacts for part in ("--artifact", a["digest"])]
        release = self._cli("release", "create", model.name, *chosen, "--note", "made by the demo")
        made = self._cli("rollout", "create", release["id"], "--all")

        def ended() -> dict[str, Any] | None:
            rollout: dict[str, Any] = api.get(f"/rollouts/{made['id']}")
            return rollout if rollout["state"] in {"done", "paused", "aborted"} else None

        rollout = self._processes.wait_for("the rollout", ended, COMMIT_SECONDS)
        if rollout["state"] != "done":
            raise DemoFailure(f"the rollout is {rollout['state']}: {rollout['reason']}")
        return rollout

    def _start_programs(self, model: DemoModel) -> None:
        recorded = self._work / "recorded.npz"
        record_inputs(model, recorded)
        for device in DEVICES:
            command = ["replay", str(recorded), "--state", str(self._agent_dir(device))]
            self._processes.start(
                f"program on {device.name}", [*AGENT, *command, "--rate", str(RATE_PER_SECOND)]
            )

    def _wait_telemetry(self, api: Api, say: Any) -> dict[str, Any]:
        """What each device itself reported over some seconds of live inference; latency histograms merged."""

        def complete() -> dict[str, Any] | None:
            latest: dict[str, Any] = api.get("/telemetry/latest")
            told = [latest.get(d.name, {}).get("p95_us") and latest[d.name].get("rss_bytes") for d in DEVICES]
            return latest if all(told) else None

        self._processes.wait_for("latency and memory from all three devices", complete, TELEMETRY_SECONDS)
        until = time.monotonic() + MEASURE_SECONDS
        while time.monotonic() < until:
            say(f"{until - time.monotonic():.0f} s")
            self._processes.check()
            time.sleep(0.5)
        return {device.name: self._reported(api, device) for device in DEVICES}

    @staticmethod
    def _reported(api: Api, device: DemoDevice) -> dict[str, Any]:
        now_ms = int(time.time() * 1000)
        span = {"from": now_ms - 1000 * round(MEASURE_SECONDS), "to": now_ms, "step_ms": HOUR_MS}
        metrics = ("latency_p50_us", "latency_p95_us", "rss_bytes", "power_mw")
        found = api.get("/telemetry/series", device=device.name, metric=",".join(metrics), **span)
        newest = {m: next((v for v in reversed(found["series"][m]) if v is not None), None) for m in metrics}
        return {**newest, "power_method": found["methods"].get("power_mw")}

    def _summary(
        self, api: Api, model: DemoModel, rollout: dict[str, Any], reported: dict[str, Any]
    ) -> dict[str, Any]:
        per_profile = {}
        for device in DEVICES:
            row = next(d for d in rollout["devices"] if d["device"] == device.name)
            report = api.get(f"/artifacts/{row['digest']}")["report"]
            told = reported[device.name]
            per_profile[device.profile] = {
                "device": device.name,
                "recipe": device.recipe,
                "state": row["state"],
                "bytes_before": report["bytes"]["weights_before"],
                "bytes_after": report["bytes"]["artifact"],
                "accuracy_before": report["accuracy"]["before"],
                "accuracy_after": report["accuracy"]["after"],
                "accuracy_n": report["accuracy"]["n"],
                "device_p50_us": told["latency_p50_us"],
                "device_p95_us": told["latency_p95_us"],
                "device_rss_bytes": told["rss_bytes"],
                "device_power_mw": told["power_mw"],
                "device_power_method": told["power_method"],
            }
        return {
            "model": model.name,
            "rollout": rollout["state"],
            "devices": len(DEVICES),
            "devices_committed": rollout["counts"]["committed"],
            "profiles": per_profile,
            "seconds": self.seconds,
        }


def _read_json(path: Path) -> Any | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # not there, or being written: asked again in a moment
        return None


def _first_password(log: str) -> str:
    for line in log.splitlines():
        name, _, value = line.strip().partition(":")
        if name.strip().lower() == "password":
            return value.strip()
    raise DemoFailure("the server did not print a first-run login")


def _run(command: list[str], env: dict[str, str], name: str) -> str:
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailure(f"{name} failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def run_demo(*, check: bool, port: int, console: Console) -> dict[str, Any] | None:
    """Run the demo in a temporary folder that is removed at the end.

    ``check``: stop after the last step. Returns the summary (None when interrupted). Raises DemoFailure.
    """
    with (
        tempfile.TemporaryDirectory(prefix="edgepress-demo-") as folder,
        Demo(Path(folder), port, console) as demo,
    ):
        # torch makes itself a folder for compiled kernels beside ours, even when it compiles none
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{folder}/torch")
        try:
            summary = demo.run()
            _print_summary(summary, console)
            if not check:
                _print_invitation(demo, console)
                demo.keep_running()
        except KeyboardInterrupt:
            console.print("Stopping everything the demo started ...")
            return None
        except ApiFailure as error:
            raise DemoFailure(error.message) from error
    return summary


def _print_summary(summary: dict[str, Any], console: Console) -> None:
    from edgepress_server.cli.output import micros, percent, size, table

    console.print()
    table(
        ("DEVICE", "PROFILE", "RECIPE", ">WEIGHTS", ">ARTIFACT", ">BEFORE", ">AFTER", ">P50", ">P95", ">RSS"),
        [
            (
                p["device"], profile, p["recipe"], size(p["bytes_before"]), size(p["bytes_after"]),
                percent(p["accuracy_before"]), percent(p["accuracy_after"]),
                micros(p["device_p50_us"]), micros(p["device_p95_us"]), size(p["device_rss_bytes"]),
            )
            for profile, p in summary["profiles"].items()
        ],
        empty="",
    )  # fmt: skip
    console.print(
        "\nAll three run on this machine, so the latency is this machine's: int8 for the Raspberry Pi has the"
        "\nform its cores are fast at (signed activations), which x86 is slow at. Power is an estimate.",
        soft_wrap=True,
    )


def _print_invitation(demo: Demo, console: Console) -> None:
    console.print(f"\nThe fleet is live:  [bold]{demo.url}[/]\nSign in as:         admin / {demo.password}")
    console.print("\nCtrl-C stops everything and removes it.")
