"""Keys of a terminal, as words: ``up``, ``enter``, or the character itself."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ESCAPES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
}
_CONTROL: Final = {
    "\r": "enter",
    "\n": "enter",
    "\x1b": "escape",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x03": "ctrl-c",
}
READ_MAX_BYTES: Final = 1024


def keys_of(data: bytes) -> list[str]:
    """What one read of a terminal gave."""
    found: list[str] = []
    at = 0
    while at < len(data):
        for length in (4, 3):
            if data[at : at + length] in ESCAPES:
                found.append(ESCAPES[data[at : at + length]])
                at += length
                break
        else:
            if data[at : at + 2] == b"\x1b[":  # a key that means nothing here: to its last byte
                at += 2
                while at < len(data) and not 0x40 <= data[at] <= 0x7E:
                    at += 1
                at += 1
                continue
            character, at = _character(data, at)
            if character:
                found.append(_CONTROL.get(character, character))
    return found


def _character(data: bytes, at: int) -> tuple[str, int]:
    """One character of UTF-8, "" for what is none."""
    for length in range(1, 5):
        try:
            return data[at : at + length].decode("utf-8"), at + length
        except UnicodeDecodeError:
            continue
    return "", at + 1


@contextmanager
def raw_terminal() -> Iterator[int]:
    """Standard input without line editing and echo; as it was afterwards. The file's number."""
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        settings = termios.tcgetattr(number)
        settings[3] &= ~termios.ISIG  # control C is a key, so that the screen is put back in order
        termios.tcsetattr(number, termios.TCSANOW, settings)
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def read_keys(number: int, wait_s: float) -> list[str]:
    """Keys that came within the time. Control C where nobody can press one any more."""
    ready, _, _ = select.select([number], [], [], wait_s)
    if not ready:
        return []
    data = os.read(number, READ_MAX_BYTES)
    return keys_of(data) if data else ["ctrl-c"]
