"""Marks: what a broker that shows one holds, whatever was killed when."""

from __future__ import annotations

from edgepress_server.store import Store

DIGEST, OTHER = "ab" * 32, "cd" * 32


def test_an_installation_keeps_its_identity(store: Store) -> None:
    assert store.broker_contents.identity() == store.broker_contents.identity()


def test_a_broker_with_the_newest_mark_holds_everything_and_an_empty_one_nothing(store: Store) -> None:
    contents = store.broker_contents
    contents.begin(DIGEST, 3)
    mark = contents.vouch(versions={"want": 5}, whole={DIGEST}, cleared=())
    assert contents.held(mark) == ({"want": 5}, {DIGEST})
    assert contents.held(0) == ({}, set())
    assert contents.published() == {DIGEST: 3}, "to be cleared some day all the same"


def test_a_broker_that_comes_back_with_an_old_state_holds_what_it_vouched_for_then(store: Store) -> None:
    contents = store.broker_contents
    contents.begin(DIGEST, 3)
    old = contents.vouch(versions={"one": 1, "two": 1}, whole={DIGEST}, cleared=())
    contents.begin(OTHER, 2)
    new = contents.vouch(versions={"two": 2}, whole={OTHER}, cleared=())
    assert new > old
    assert contents.held(old) == ({"one": 1}, {DIGEST})


def test_what_is_under_way_at_a_crash_is_held_by_nobody(store: Store) -> None:
    contents = store.broker_contents
    mark = contents.vouch(versions={"want": 1}, whole=(), cleared=())
    contents.begin(DIGEST, 3)
    assert contents.held(mark) == ({"want": 1}, set())
    assert contents.published() == {DIGEST: 3}


def test_cleared_chunks_that_an_old_state_brings_back_are_cleared_again(store: Store) -> None:
    contents = store.broker_contents
    contents.begin(DIGEST, 3)
    old = contents.vouch(versions={}, whole={DIGEST}, cleared=())
    new = contents.vouch(versions={}, whole=(), cleared={DIGEST})
    assert contents.published() == {}
    contents.held(old)
    assert contents.published() == {DIGEST: 3}
    contents.vouch(versions={}, whole=(), cleared={DIGEST})
    contents.held(new + 1)
    contents.held(0)
    assert contents.published() == {}, "a broker has shown that they are gone"


def test_an_artifact_that_is_published_anew_is_not_vouched_for_by_its_old_mark(store: Store) -> None:
    contents = store.broker_contents
    contents.begin(DIGEST, 3)
    contents.vouch(versions={}, whole={DIGEST}, cleared=())
    mark = contents.vouch(versions={}, whole=(), cleared={DIGEST})
    contents.begin(DIGEST, 3)
    assert contents.held(mark)[1] == set()
    assert contents.published() == {DIGEST: 3}
