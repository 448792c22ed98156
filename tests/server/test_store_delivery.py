"""Delivery rules: what is stricter counts, hours are those of the place; tickets cannot be made up."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.protocol import Delivery
from edgepress_server.errors import InvalidInputError, UnauthenticatedError
from edgepress_server.store.delivery import DeliveryRules, as_delivery, strictest
from edgepress_server.trust.ticket import make_ticket, read_ticket

NOVEMBER = datetime(2026, 11, 22, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
RANGE = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda pair: pair[0] != pair[1])
SECRET = b"s" * 32


def minutes(hours):
    allowed = set()
    for start, end in hours:
        allowed |= {(start + step) % 1440 for step in range((end - start) % 1440)}
    return allowed


def test_hours_are_those_of_the_place_on_that_day():
    rules = DeliveryRules(hours=["22:00-06:00"], timezone="Europe/Berlin")
    assert as_delivery(rules, NOVEMBER).hours == [(21 * 60, 5 * 60)]
    assert as_delivery(rules, JULY).hours == [(20 * 60, 4 * 60)]


@given(st.lists(RANGE, min_size=1, max_size=3), st.lists(RANGE, min_size=1, max_size=3))
def test_a_device_fetches_only_when_both_rules_allow_it(one, other):
    common = strictest([Delivery(hours=one), Delivery(hours=other)]).hours
    both = minutes(one) & minutes(other)
    if not both:
        assert len(minutes(common)) == 1  # not never: that would look like a fault
    elif len(both) < 1440:
        assert minutes(common) == both
    assert len(common) <= 8


def test_the_strictest_counts():
    found = strictest(
        [
            Delivery(rate_bytes_s=50_000, start_within_s=60),
            Delivery(rate_bytes_s=20_000, metered="wait", transport="https"),
            Delivery(full=False),
        ]
    )
    assert found == Delivery(60, 20_000, [], "wait", "https", full=False)


def test_device_and_fleet(store):
    store.devices.register("pi", "x86-pc", {}, actor=None)
    store.delivery.set_fleet(DeliveryRules(rate_bytes_s=100_000, fleet_rate_bytes_s=1_000_000), actor="ada")
    store.delivery.set_device("pi", DeliveryRules(rate_bytes_s=10_000, hours=["01:00-02:00"]), actor="ada")
    assert store.delivery.rules("pi") == Delivery(rate_bytes_s=10_000, hours=[(60, 120)])
    assert store.delivery.rules("other") == Delivery(rate_bytes_s=100_000)
    assert store.delivery.fleet_rate == 1_000_000
    store.delivery.set_device("pi", DeliveryRules(), actor="ada")
    assert store.delivery.rules("pi") == Delivery(rate_bytes_s=100_000)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (DeliveryRules(hours=["22-6"]), "22:00-06:00"),
        (DeliveryRules(hours=["24:30-06:00"]), "24:00"),
        (DeliveryRules(hours=["06:00-06:00"]), "end where they begin"),
        (DeliveryRules(timezone="Mars/Olympus"), "Europe/Berlin"),
        (DeliveryRules(timezone="../../etc/passwd"), "no time zone"),
    ],
)
def test_rules_that_cannot_be_kept(store, rules, words):
    with pytest.raises(InvalidInputError, match=words):
        store.delivery.set_fleet(rules, actor=None)


def test_a_ticket_says_who_fetches_what():
    text = make_ticket(SECRET, device="pi-4", digest="ab" * 32, expires_s=1000)
    ticket = read_ticket(SECRET, text, now_s=999)
    assert (ticket.device, ticket.digest_start) == ("pi-4", "ab" * 8)
    assert len(text) < 130


@pytest.mark.attack("wrong device", "a ticket for HTTPS cannot be made up, altered or used later")
def test_a_ticket_cannot_be_made_up():
    text = make_ticket(SECRET, device="pi-4", digest="ab" * 32, expires_s=1000)
    for forged in (
        text.replace("pi-4", "pi-5"),
        text.replace(".1000.", ".9000."),
        text.replace("abab", "cdcd", 1),
        text[:-1],
        "",
        "...",
        "\N{SNOWMAN}" * 300,
        make_ticket(b"t" * 32, device="pi-4", digest="ab" * 32, expires_s=1000),
    ):
        with pytest.raises(UnauthenticatedError, match="not one of this server's"):
            read_ticket(SECRET, forged, now_s=999)
    with pytest.raises(UnauthenticatedError, match="expired"):
        read_ticket(SECRET, text, now_s=1000)
