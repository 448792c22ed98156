"""The audit log only grows, and shows when somebody changed it around the server."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_story import Clock

from edgepress_server.store import Store
from edgepress_server.store.audit import GENESIS, AuditEntry, Head, verify_chain


def fill(store: Store, rows: int = 5) -> None:
    for number in range(rows):
        store.audit.append(
            "create_rollout", f"ro{number}", actor="ada", source="10.0.0.4", data={"n": number}
        )


def tamper(store: Store, sql: str) -> None:
    """As somebody with the file and without our triggers."""
    connection = sqlite3.connect(store.database.path)
    for trigger in ("audit_next", "audit_no_update", "audit_no_delete"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_an_untouched_log_holds_and_its_head_moves(store: Store, clock: Clock) -> None:
    assert store.audit.head() == Head(0, GENESIS) and store.audit.verify().holds
    fill(store)
    verdict = store.audit.verify()
    assert verdict.holds and verdict.rows == 5 and verdict.head == store.audit.head()
    assert [entry.number for entry in store.audit.oldest_first()] == [1, 2, 3, 4, 5]
    assert store.audit.newest(1)[0].at == clock.ms


@pytest.mark.parametrize(
    ("sql", "broken"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE number = 3", 3),
        ("UPDATE audit SET data = '{}' WHERE number = 2", 2),
        ("UPDATE audit SET data = 'no json' WHERE number = 2", 2),
        ("UPDATE audit SET at = at + 1 WHERE number = 1", 1),
        ("DELETE FROM audit WHERE number = 4", 4),
        ("DELETE FROM audit WHERE number = 1", 1),
        ("UPDATE audit SET number = number + 100 WHERE number = 5", 5),
    ],
)
@pytest.mark.attack("audit log", "a row that was changed, left out or moved is named")
def test_the_first_broken_row_is_named(store: Store, sql: str, broken: int) -> None:
    fill(store)
    tamper(store, sql)
    verdict = store.audit.verify()
    assert not verdict.holds and verdict.broken == broken and verdict.reason


@pytest.mark.attack("audit log", "an end cut off, and a log made anew, do not match a head kept elsewhere")
def test_a_log_cut_off_or_made_anew_is_caught_by_a_kept_head(store: Store) -> None:
    fill(store)
    kept = store.audit.head()
    tamper(store, "DELETE FROM audit WHERE number = 5")
    assert store.audit.verify().holds  # nothing in itself shows it
    cut = store.audit.verify(kept)
    assert cut.broken == 5 and "ends at row 4" in (cut.reason or "")
    rest = list(store.audit.oldest_first())
    other = AuditEntry(5, 1, "x", "y", None, "server", {}, "")
    forged = AuditEntry(**{**vars(other), "hash": other.expected_hash(rest[-1].hash)})
    assert verify_chain([*rest, forged]).holds
    assert verify_chain([*rest, forged], kept).broken == 5
    assert verify_chain(rest, Head(0, GENESIS)).holds


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.execute("UPDATE audit SET actor = 'bob'"),
        lambda c: c.execute("DELETE FROM audit"),
        lambda c: c.execute(
            "INSERT OR REPLACE INTO audit VALUES (1, 0, 'a', 's', NULL, 'x', '{}', 'h')",
        ),
        lambda c: c.execute("INSERT INTO audit VALUES (9, 0, 'a', 's', NULL, 'x', '{}', 'h')"),
    ],
)
def test_the_file_itself_refuses_changes(
    store: Store, change: Callable[[sqlite3.Connection], object]
) -> None:
    fill(store, 2)
    connection = sqlite3.connect(store.database.path)
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        change(connection)
    connection.close()
    assert store.audit.verify().rows == 2


def test_a_row_goes_with_the_change_it_tells_of(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        store.audit.append("keys_rotate", "release")
        raise RuntimeError
    assert store.audit.head().number == 0


def test_pages_and_filters(store: Store) -> None:
    fill(store, 3)
    store.audit.append("sign_in", "bob", actor="bob", source="x")
    assert [entry.number for entry in store.audit.newest(2)] == [4, 3]
    assert [entry.number for entry in store.audit.newest(2, before=3)] == [2, 1]
    assert [entry.number for entry in store.audit.newest(actor="bob")] == [4]
    assert [entry.subject for entry in store.audit.newest(action="create_rollout", subject="ro1")] == ["ro1"]
    assert store.audit.actions() == ["create_rollout", "sign_in"]


def test_long_data_is_named_by_its_length(store: Store) -> None:
    entry = store.audit.append("a" * 1000, "s" * 1000, data={"x": "y" * 10_000})
    assert len(entry.action) == 200 and "characters" in entry.data["left_out"]
    assert store.audit.verify().holds


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(-1e300, 1e300)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(subject=st.text(max_size=300), data=st.dictionaries(st.text(max_size=9), json_values, max_size=4))
def test_whatever_is_told_verifies_when_it_is_read_again(
    store: Store, subject: str, data: dict[str, Any]
) -> None:
    written = store.audit.append("a", subject + "\ud800", data={**data, "lone": "\udfff"})
    assert store.audit.newest(1) == [written]
    assert store.audit.verify().holds
