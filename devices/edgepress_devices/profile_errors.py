"""What can be wrong with a device profile, as facts and as one text for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a profile, or (a warning) that is probably not meant."""

    path: str  # "memory.bandwidth.gb_per_s"; "" where it concerns the whole file
    message: str  # what is wrong
    fix: str  # what to do
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}; {self.fix}" if self.path else f"{self.message}; {self.fix}"


class ProfileError(ValueError):
    """A profile that cannot be used; the text says what to change.

    ProfileError
    ├── UnknownProfile   no profile has this name; ``name`` and ``close`` say which was meant
    └── InvalidProfile   the file is not a profile; ``path`` says which file, ``problems`` all that is wrong
    """


class UnknownProfile(ProfileError):
    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        self.close = close_names(name, known)
        hint = f"did you mean {' or '.join(self.close)}? " if self.close else ""
        super().__init__(
            f"no device profile {name[:80]!r}: {hint}"
            f"Known: {', '.join(known)}. Or give the path of a .toml file."
        )


class InvalidProfile(ProfileError):
    """``path`` is a file, or the name of a profile that came as text. Warnings are no problems here."""

    def __init__(self, path: str | Path, problems: Sequence[Problem]) -> None:
        self.path = Path(path)
        self.problems = [problem for problem in problems if problem.level == "error"]
        if len(self.problems) == 1:
            why = str(self.problems[0])
        else:
            why = f"{len(self.problems)} things are wrong with it\n" + "\n".join(
                f"  - {problem}" for problem in self.problems
            )
        super().__init__(f"{path} is no device profile: {why}")


def close_names(name: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """Up to three known names that look like this one, the closest first."""
    return difflib.get_close_matches(name.lower()[:200], list(known), n=3, cutoff=cutoff)
