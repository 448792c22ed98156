"""Commands run beside the reader: kept fresh, never awaited, and their failures are sentences."""

import sys
import threading

import pytest

from edgepress_devices.sensors import commands
from edgepress_devices.sensors.commands import Argv, CommandError, CommandPoller, run_command

PRINT = ("vcgencmd", "get_throttled")


def test_a_watched_command_is_run_again_and_again() -> None:
    answers, enough = iter(range(1000)), threading.Event()

    def runner(argv: Argv) -> str:
        count = next(answers)
        if count >= 3:
            enough.set()
        return str(count)

    poller = CommandPoller(runner, period_s=0.001)
    assert poller.watch(PRINT) == "0"
    assert enough.wait(10)
    poller.close()
    latest = poller.latest(PRINT)
    assert latest is not None and int(latest) >= 2
    assert threading.active_count() == 1 or "sensor-commands" not in {t.name for t in threading.enumerate()}


def test_a_command_that_fails_at_first_is_never_run_again() -> None:
    def runner(argv: Argv) -> str:
        raise CommandError("not here")

    poller = CommandPoller(runner)
    assert poller.watch(PRINT) is None and poller.latest(PRINT) is None
    assert "sensor-commands" not in {thread.name for thread in threading.enumerate()}
    poller.close()


def test_an_answer_that_is_too_old_is_none() -> None:
    now = 100.0
    poller = CommandPoller(lambda argv: "fresh", period_s=1.0, clock=lambda: now)
    poller.watch(PRINT)
    poller.close()
    assert poller.latest(PRINT) == "fresh"
    now += 5.1
    assert poller.latest(PRINT) is None


def test_the_output_of_a_real_command() -> None:
    assert run_command((sys.executable, "-c", "print('hello')")) == "hello\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("no-such-command-here",), "cannot be run"),
        ((sys.executable, "-c", "print('no PMIC'); raise SystemExit(3)"), "failed with status 3: no PMIC"),
    ],
)
def test_a_failure_is_a_sentence(argv: Argv, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        run_command(argv)


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TIMEOUT_S", 0.05)
    with pytest.raises(CommandError, match="did not end within"):
        run_command((sys.executable, "-c", "import threading; threading.Event().wait()"))
