"""Tables of attacks and faults at the end of a run: what was tried, and what the tests show of it."""

from collections import defaultdict

import pytest

TABLES = {"attack": "attacks, each refused with its own reason", "fault": "faults and bad input"}


def pytest_collection_modifyitems(items):
    for item in items:
        for kind in TABLES:
            for marker in item.iter_markers(kind):
                name, shows = marker.args  # a marker without both says nothing
                item.user_properties.append((kind, (name, shows)))


def pytest_terminal_summary(terminalreporter):
    for kind, title in TABLES.items():
        rows = _rows(terminalreporter, kind)
        if not rows:
            continue
        terminalreporter.section(title)
        width = max(len(name) for name, _ in rows)
        for (name, shows), counts in sorted(rows.items()):
            said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            terminalreporter.write_line(f"{name:<{width}}  {shows}: {said}")


def _rows(terminalreporter, kind):
    """(name, what it shows) -> outcome -> number of tests."""
    rows = defaultdict(lambda: defaultdict(int))
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if not isinstance(report, pytest.TestReport):
                continue
            for key, value in report.user_properties:
                if key == kind:
                    rows[tuple(value)][outcome] += 1
    return rows
