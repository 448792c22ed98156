"""The query language: what it means as a table, that it never breaks on any text, and that errors point."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout.query import QueryError, Subject, like, parse, version_key
from edgepress_server.store import Store

PI = Subject(
    "pi-7",
    "raspberry-pi-4",
    "online",
    running="3fa0" + "0" * 60,
    model="digits",
    release=12,
    agent="0.10.1",
    board="Raspberry Pi 4 Model B",
    labels={"site": "hall 3", "test": "", "rack": "7", "name": "odd"},
)
SLEEPER = Subject("old-1", "jetson-nano", "offline", agent="0.9")


@pytest.mark.parametrize(
    ("query", "fits_pi", "fits_sleeper"),
    [
        ("profile = raspberry-pi-4", True, False),
        ("profile = raspberry-*", True, False),
        ("profile != raspberry-pi-4", False, True),
        ('site = "hall 3"', True, False),
        ('site = "hall 4" or site = "hall 3"', True, False),
        ("label.site", True, False),
        ("test", True, False),
        ("not label.test", False, True),
        ("site != hall", True, True),  # what is not there is not equal
        ("online", True, False),
        ("not online", False, True),
        ("online = false", False, True),
        ("online != false", True, False),
        ("status = offline", False, True),
        ("running = 3fa0*", True, False),
        ("running", True, False),
        ("model = digits and release >= 12", True, False),
        ("release > 12", False, False),
        ("agent >= 0.10", True, False),  # 10 is more than 9
        ("agent < 0.10", False, True),
        ("rack >= 7 and rack < 10", True, False),
        ("profile in (jetson-nano, raspberry-pi-4)", True, True),
        ("profile in (jetson-nano)", False, True),
        ('board = "Raspberry Pi 4*"', True, False),
        ("name = pi-7", True, False),  # the field, not the label
        ("label.name = odd", True, False),
        ("online and (site = hall or not test) or name = pi-7", True, False),
        ("not not online", True, False),
        ("not online or online and rack = 7", True, True),  # `and` binds more than `or`
    ],
)
def test_a_query_means(query: str, fits_pi: bool, fits_sleeper: bool) -> None:
    parsed = parse(query)
    assert (parsed.matches(PI), parsed.matches(SLEEPER)) == (fits_pi, fits_sleeper)


@pytest.mark.parametrize(
    ("query", "at", "said"),
    [
        ("", 0, "a field or a label"),
        ("profile =", 9, "a value"),
        ("profile = a b", 12, "`and`, `or` or the end"),
        ("(online", 7, "`)` is missing"),
        ("online)", 6, "`and`, `or` or the end"),
        ('site = "hall', 7, "not closed"),
        ("a ? b", 2, "no meaning"),
        ("a in b", 5, "a list in brackets"),
        ("a in (b", 7, "`)` is missing"),
        ("and", 0, "a field or a label"),
        ("online < 3", 9, "stands alone"),
        ("group", 0, "Say which group"),
        ("group > 3", 8, "only be `=`"),
        ("not " * 60 + "a", 164, "levels"),
        (" or ".join(["a"] * 201), 1000, "200 terms"),
        ("a" * 2001, 2000, "2000 characters"),
    ],
)
def test_an_error_points_at_the_character(query: str, at: int, said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)) as failed:
        parse(query)
    assert failed.value.at == at
    assert f"(character {at + 1})" in failed.value.message


@given(st.text(alphabet=st.sampled_from(list('ab =!<>()",*.\\')) | st.characters(), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        query = parse(text)
    except QueryError as error:
        assert 0 <= error.at <= len(text)
    else:
        assert query.matches(PI) in (True, False)


values = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


@given(values, values)
def test_quotes_carry_any_value(value: str, other: str) -> None:
    device = Subject("x", "p", labels={"k": value})
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'k = "{quoted}"').matches(device)
    if "*" not in value:
        assert parse(f'k = "{quoted}"').matches(Subject("x", "p", labels={"k": other})) == (value == other)


@given(st.lists(st.sampled_from("ab"), max_size=6), st.lists(st.sampled_from("ab*"), max_size=6))
def test_stars_stand_for_anything(text: list[str], pattern: list[str]) -> None:
    said, sought = "".join(text), "".join(pattern)
    oracle = re.fullmatch(".*".join(map(re.escape, sought.split("*"))), said) is not None
    assert like(said, sought.split("*")) == oracle


def test_versions_compare_part_by_part() -> None:
    rising = ["0.9", "0.10", "0.10.1-rc1", "0.10.1-rc2", "0.10.1", "0.10.2", "1-rc", "1.0", "1.0.1", "2"]
    assert sorted(rising, key=version_key) == rising
    assert version_key("1.0") == version_key("1") == version_key("1.0.0")


# --- groups -----------------------------------------------------------------------------------------------


def test_a_group_is_evaluated_when_it_is_used(store: Store) -> None:
    store.devices.register("a", "pi", {"site": "hall 3"}, actor=None)
    store.groups.put("hall-3", 'site = "hall 3"')
    store.groups.put("pis", "group = hall-3 and profile = pi")
    assert store.rollout_targets.find("group = pis") == ["a"]
    store.devices.register("b", "pi", {"site": "hall 3"}, actor=None)
    assert store.rollout_targets.find("group = pis") == ["a", "b"]
    store.groups.put("hall-3", "site = attic")
    assert store.rollout_targets.find("group = pis") == []


def test_a_group_does_not_contain_itself_and_is_not_deleted_while_another_needs_it(store: Store) -> None:
    store.groups.put("a", "online")
    store.groups.put("b", "group = a")
    with pytest.raises(ConflictError, match="contain itself"):
        store.groups.put("a", "group = b")
    with pytest.raises(ConflictError, match="part of group b"):
        store.groups.delete("a")
    store.groups.delete("b")
    store.groups.delete("a")
    assert store.groups.list() == []


@pytest.mark.parametrize(
    ("name", "query", "error"),
    [
        ("Hall 3", "online", InvalidInputError),
        ("hall-3", "online and", InvalidInputError),
        ("hall-3", "group = nobody", NotFoundError),
        ("hall-3", "group = hall-3", ConflictError),
    ],
)
def test_a_group_that_cannot_be_is_refused(
    store: Store, name: str, query: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.groups.put(name, query)
    assert store.groups.list() == []
