"""Live events: each once and in order, also across a break; a slow listener harms nobody."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from server_story import Browser

from edgepress_server.api import stream
from edgepress_server.api.stream import EventFan
from edgepress_server.errors import StoreError
from edgepress_server.store import Store


@pytest.fixture
def fan(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventFan]:
    monkeypatch.setattr(stream, "POLL_S", 0.01)
    made = EventFan(store)
    yield made
    made.close()


def next_ids(texts: Iterator[str], count: int) -> list[int]:
    """Ids of the next events; blocks until they are there."""
    ids: list[int] = []
    while len(ids) < count:
        text = next(texts)
        if text.startswith("id: "):
            ids.append(int(text.split("\n")[0][4:]))
    return ids


def test_events_come_in_order_and_once(store: Store, fan: EventFan) -> None:
    texts = fan.listen(None)
    assert next(texts) == "retry: 2000\n\n"
    written = [store.events.append("device", "pi", "state") for _ in range(5)]
    assert next_ids(texts, 5) == written


def test_a_listener_resumes_where_it_was_cut_off(store: Store, fan: EventFan) -> None:
    written = [store.events.append("device", "pi", "state") for _ in range(10)]
    texts = fan.listen(written[3])
    assert next_ids(texts, 6) == written[4:]
    later = store.events.append("device", "pi", "state")
    assert next_ids(texts, 1) == [later]


def test_nothing_is_lost_between_asking_and_listening(store: Store, fan: EventFan) -> None:
    texts = fan.listen(None)
    first = store.events.append("device", "pi", "state")
    assert next_ids(texts, 1) == [first]


def test_who_missed_too_much_is_told_so(store: Store, fan: EventFan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RESUME_LIMIT", 5)
    last = [store.events.append("device", "pi", "state") for _ in range(10)][-1]
    texts = fan.listen(0)
    next(texts)
    assert next(texts) == f'id: {last}\nevent: missed\ndata: {{"id": {last}}}\n\n'
    later = store.events.append("device", "pi", "state")
    assert next_ids(texts, 1) == [later]


def test_writers_in_other_threads_and_two_listeners(store: Store, fan: EventFan) -> None:
    both = [fan.listen(None), fan.listen(None)]
    for texts in both:
        next(texts)
    threads = [
        threading.Thread(target=lambda: [store.events.append("device", "pi", "state") for _ in range(25)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    ids = [next_ids(texts, 100) for texts in both]
    for thread in threads:
        thread.join()
    assert ids[0] == ids[1] == sorted(set(ids[0]))


def test_a_listener_that_does_not_keep_up_is_dropped(
    store: Store, fan: EventFan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_QUEUE_EVENTS", 10)
    slow = fan.listen(None)
    next(slow)
    first = store.events.append("device", "pi", "state")
    assert next_ids(slow, 1) == [first]
    with store.transaction():
        for _ in range(11):
            store.events.append("device", "pi", "state")
    brisk = fan.listen(None)
    next(brisk)
    later = store.events.append("device", "pi", "state")
    assert next_ids(brisk, 1) == [later]
    assert list(slow) == []  # its stream ended


def test_too_many_listeners_are_refused_and_those_that_left_do_not_count(
    fan: EventFan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_LISTENERS", 2)
    texts = [fan.listen(None), fan.listen(None)]
    for one in texts:
        next(one)
    with pytest.raises(StoreError, match="live already"):
        fan.listen(None)
    texts[0].close()  # type: ignore[attr-defined]
    next(fan.listen(None))


def test_closing_ends_every_stream(fan: EventFan) -> None:
    texts = fan.listen(None)
    next(texts)
    fan.close()
    assert list(texts) == []


def test_the_stream_speaks_server_sent_events(viewer: Browser, store: Store) -> None:
    number = store.events.append("device", "pi", "state", data={"text": "line\nbreak"})
    headers = {"Last-Event-ID": str(number - 1)}
    with viewer.client.get("/api/v1/events/stream", headers=headers, buffered=False) as answer:
        assert answer.mimetype == "text/event-stream"
        parts: Any = iter(answer.response)
        assert next(parts) == b"retry: 2000\n\n"
        lines = next(parts).decode().split("\n")
    assert lines[:2] == [f"id: {number}", "event: change"] and lines[3:] == ["", ""]
    event = json.loads(lines[2].removeprefix("data: "))
    assert (event["kind"], event["data"]) == ("device", {"text": "line\nbreak"})
    assert viewer.get("/events?limit=1")[0] == event


@pytest.mark.parametrize("header", ["x", "-1", "1e3", "9" * 30, "١"])
def test_a_last_event_id_that_is_none_is_ignored(viewer: Browser, header: str) -> None:
    with viewer.client.get(
        "/api/v1/events/stream", headers={"Last-Event-ID": header.encode().decode("latin-1")}, buffered=False
    ) as answer:
        assert answer.status_code == 200


def test_what_happened_is_found_among_any_number_of_samples(store: Store, viewer: Browser) -> None:
    store.devices.register("pi", "raspberry-pi-4", {}, actor=None)
    store.events.append_all("telemetry", "batch", [("fleet", {"count": n}) for n in range(1500)])
    assert all(event["kind"] == "telemetry" for event in viewer.get("/events?limit=1000"))
    told = viewer.get("/events?limit=10&telemetry=false")
    assert ("device", "pi") in {(event["kind"], event["subject"]) for event in told}
    assert all(event["kind"] != "telemetry" for event in told)
    plan = store.database.rows(
        "EXPLAIN QUERY PLAN SELECT id FROM events WHERE kind != 'telemetry' ORDER BY id DESC LIMIT 10"
    )
    assert "events_told" in plan[0]["detail"]
