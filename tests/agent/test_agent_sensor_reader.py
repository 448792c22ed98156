"""Sensors that hang: the readings are absent, everything else goes on."""

import logging
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from edgepress_agent.sensor_reader import SensorReader
from edgepress_devices.sensors import Sensors, battery

TREE = Path(__file__).parents[1] / "fixtures" / "sys" / "x86-laptop"


class Stuck:
    """A battery whose driver does not come back until ``free`` is set."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.reads = 0

    def wait(self, _self: Any = None) -> None:
        self.reads += 1
        assert self.free.wait(30)


def laptop(tmp_path: Path) -> Sensors:
    return Sensors(TREE, data_dir=tmp_path)


def stuck_sensors(stuck: Stuck, tmp_path: Path) -> Sensors:
    sensors = laptop(tmp_path)
    # the wait stands in the battery's own file, as a hanging read would
    held = compile("def charging(self):\n    wait(self)\n", battery.__file__, "exec")
    space: dict[str, Any] = {"wait": stuck.wait}
    exec(held, space)
    sensors._battery.charging = types.MethodType(space["charging"], sensors._battery)  # type: ignore[union-attr,method-assign]
    return sensors


@pytest.mark.fault("sensor that hangs", "its readings are absent, samples go on, and it is named once")
def test_a_sensor_that_hangs_costs_its_readings_and_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = Stuck()
    reader = SensorReader(lambda: stuck_sensors(stuck, tmp_path), patience_s=0.05)
    assert [reader.read() for _ in range(4)] == [None] * 4
    assert stuck.reads == 1, "asked again while it hangs"
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [
        "a sensor of this board (battery) has not answered for 0.05 s: readings are absent until it does"
    ]
    stuck.free.set()
    assert reader._thread is not None
    reader._patience_s = 30.0
    reader._answers.put(reader._answers.get(timeout=30))  # it came back
    readings = reader.read()
    assert readings is not None and readings.temp_c == 54.0
    reader.close()


def test_looking_for_sensors_may_hang_as_well(tmp_path: Path) -> None:
    go_on = threading.Event()

    def make() -> Sensors:
        assert go_on.wait(30)
        return laptop(tmp_path)

    reader = SensorReader(make, patience_s=0.01)
    assert reader.read() is None
    go_on.set()
    reader.close(30.0)


def test_the_thread_ends_with_the_reader(tmp_path: Path) -> None:
    reader = SensorReader(lambda: laptop(tmp_path))
    readings = reader.read()
    assert readings is not None and readings.battery_percent == 73.0
    reader.close(30.0)
    assert reader._thread is not None and not reader._thread.is_alive()
