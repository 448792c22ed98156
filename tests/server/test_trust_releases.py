"""Releases that are signed elsewhere: they wait, are carried out and back, and nothing else is let in."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from server_story import Clock
from signing_story import MODEL, Vendor

from edgepress_devices.protocol import Hardware, State
from edgepress_server.api import create_app
from edgepress_server.api.context import EXTENSION
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from edgepress_server.jobs.worker import Worker, start_child
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.trust import key_file
from edgepress_server.trust.bundle import BUNDLE_MAX_BYTES, Item, describe, make_bundle, read_bundle
from edgepress_server.trust.key_change import rotate, take_offline
from edgepress_server.trust.key_file import read_public_key
from edgepress_server.trust.keys import load_keys
from edgepress_server.trust.passphrase import Passphrase
from edgepress_server.trust.statement import read_statement, valid_signatures
from edgepress_server.trust.want import make_want

PUBLIC_KEY = base64.b64encode(bytes(31) + b"x").decode()


@pytest.fixture(autouse=True)
def cheap_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody guesses passphrases here: scrypt is met in test_trust_key_change."""
    monkeypatch.setattr(key_file, "_stretched", lambda text, salt: sha256(text + salt).hexdigest().encode())


@pytest.fixture
def vendor(store: Store) -> Vendor:
    return Vendor(store)


@pytest.fixture
def offline(vendor: Vendor) -> Vendor:
    """Two of three release keys must sign, and none is here."""
    vendor.release_keys_elsewhere(3, threshold=2)
    return vendor


def test_with_the_release_key_here_a_release_is_signed_at_once(vendor: Vendor) -> None:
    digest = vendor.artifact("a")
    release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[digest])
    assert (release.state, release.signatures) == ("signed", 1)
    statement = read_statement(vendor.store.releases.statement(release.id, digest))
    assert valid_signatures(vendor.keys, statement) == 1
    with pytest.raises(ConflictError, match="signed already"):
        vendor.store.signing.items(vendor.keys, release.id)


def test_with_release_keys_elsewhere_a_release_waits_and_is_signed_by_two_of_them(
    offline: Vendor, tmp_path: Path
) -> None:
    releases = offline.store.releases
    digests = [offline.artifact("a"), offline.artifact("b", "jetson-nano")]
    release = releases.create(offline.keys, model=MODEL, digests=digests)
    assert (release.state, release.signatures) == ("awaiting_signature", 0)
    with pytest.raises(ConflictError, match=f"edgepress keys export {release.id}"):
        releases.statement(release.id, digests[0])

    bundle = tmp_path / "release.bundle"
    assert offline.command("export", release.id, "-o", str(bundle)).exit_code == 0
    first = offline.sign(bundle, offline.sticks[0])
    assert first.exit_code == 0, first.output
    assert digests[0] in first.output  # what is signed is said
    assert "Signatures: 0 of 2" in first.output
    back = offline.command("import", str(bundle))
    assert "1 of 2 signatures; pass the bundle on" in back.output
    assert releases.get(release.id).state == "awaiting_signature"
    assert offline.sign(bundle, offline.sticks[2]).exit_code == 0
    done = offline.command("import", str(bundle))
    assert "2 of 2 signatures: it is signed." in done.output, done.output
    assert releases.get(release.id).state == "signed"
    for digest in digests:
        statement = read_statement(releases.statement(release.id, digest))
        assert valid_signatures(offline.keys, statement) == 2
    assert [entry.action for entry in offline.store.audit.newest(2)] == ["keys_import", "keys_import"]


def test_a_root_that_comes_back_unsigned_is_refused_and_not_noted(vendor: Vendor, tmp_path: Path) -> None:
    vendor.command("take-offline", "root", str(tmp_path), "--passphrase-file", str(vendor.passphrase_file))
    assert vendor.command("rotate", "director").exit_code == 0
    bundle = tmp_path / "root.bundle"
    assert vendor.command("export", "root", "-o", str(bundle)).exit_code == 0
    back = vendor.command("import", str(bundle))
    assert back.exit_code == 1 and "without a signature" in back.output, back.output
    assert vendor.store.audit.newest(1)[0].action == "keys_rotate"
    (stick,) = tmp_path.glob("root-*.pem")
    assert vendor.sign(bundle, stick).exit_code == 0
    assert "is published" in vendor.command("import", str(bundle)).output


def test_two_signers_who_each_sign_their_own_copy_are_put_together(offline: Vendor, tmp_path: Path) -> None:
    release = offline.store.releases.create(offline.keys, model=MODEL, digests=[offline.artifact("a")])
    for number in (0, 1):
        bundle = tmp_path / f"{number}.bundle"
        offline.command("export", release.id, "-o", str(bundle))
        offline.sign(bundle, offline.sticks[number])
        assert offline.command("import", str(bundle)).exit_code == 0
    assert offline.store.releases.get(release.id).state == "signed"


def test_a_third_signature_does_not_travel(offline: Vendor, tmp_path: Path) -> None:
    release = offline.store.releases.create(offline.keys, model=MODEL, digests=[offline.artifact("a")])
    bundle = tmp_path / "release.bundle"
    offline.command("export", release.id, "-o", str(bundle))
    for stick in offline.sticks:
        offline.sign(bundle, stick)
    assert offline.command("import", str(bundle)).exit_code == 0
    assert offline.store.releases.get(release.id).signatures == 2


def test_deltas_are_carried_along(offline: Vendor, tmp_path: Path) -> None:
    base, full = offline.artifact("a"), offline.artifact("b")
    release = offline.store.releases.create(offline.keys, model=MODEL, digests=[full])
    offline.delta(base, full)
    bundle = tmp_path / "release.bundle"
    offline.command("export", release.id, "-o", str(bundle))
    said = offline.sign(bundle, offline.sticks[0]).output
    assert f"from artifact {base} to {full}" in said
    offline.sign(bundle, offline.sticks[1])
    assert "1 deltas are signed" in offline.command("import", str(bundle)).output
    assert offline.store.deltas.offer(release.id, full, base) is not None


# --- what does not belong is refused, and then nothing is kept --------------------------------------------


def exported(offline: Vendor, tmp_path: Path, *, signed: int = 2) -> tuple[str, Path]:
    base, full = offline.artifact("a"), offline.artifact("b")
    release = offline.store.releases.create(offline.keys, model=MODEL, digests=[full])
    offline.delta(base, full)
    bundle = tmp_path / "release.bundle"
    offline.command("export", release.id, "-o", str(bundle))
    for stick in offline.sticks[:signed]:
        offline.sign(bundle, stick)
    return release.id, bundle


def forged(bundle: Path, change: Any) -> Path:
    document = json.loads(bundle.read_bytes())
    change(document)
    bundle.write_text(json.dumps(document))
    return bundle


def item(document: Any, kind: str) -> Any:
    return next(item for item in document["items"] if item["kind"] == kind)["metadata"]


def _another_release(document: Any) -> None:
    item(document, "release")["signed"]["version"] += 1


def _another_profile(document: Any) -> None:
    (target,) = item(document, "release")["signed"]["targets"].values()
    target["custom"]["profile"] = "jetson-nano"


def _another_delta(document: Any) -> None:
    (target,) = item(document, "delta")["signed"]["targets"].values()
    target["custom"]["onnx_sha256"] = "00" * 32


def _for_ever(document: Any) -> None:
    item(document, "delta")["signed"]["expires"] = "2999-01-01T00:00:00Z"


def _bad_signature(document: Any) -> None:
    signature = item(document, "release")["signatures"][0]
    signature["sig"] = "00" + signature["sig"][2:]


def _unknown_key(document: Any) -> None:
    item(document, "release")["signatures"][0]["keyid"] = "ab" * 32


def _unsigned(document: Any) -> None:
    item(document, "release")["signatures"] = []


def _unknown_artifact(document: Any) -> None:
    signed = item(document, "release")["signed"]
    (target,) = signed["targets"].values()
    target["hashes"]["sha256"] = "cd" * 32
    signed["targets"] = {"cd" * 32: target}


FORGERIES = [
    ("another release counter", _another_release, "is not what this server asked for"),
    ("another profile", _another_profile, "is not what this server asked for"),
    ("another delta", _another_delta, "is not what this server asked for"),
    ("a delta that never expires", _for_ever, "is not what this server asked for"),
    ("a signature that is not good", _bad_signature, "is not good"),
    ("a key that is no release key", _unknown_key, "is no release key of this server"),
    ("no signature at all", _unsigned, "without a signature"),
    ("an artifact that is not in the release", _unknown_artifact, "has no artifact cdcdcdcdcdcd"),
]


@pytest.mark.attack("arbitrary artifact", "a bundle that was changed on its way is refused as a whole")
@pytest.mark.parametrize(
    ("change", "words"), [row[1:] for row in FORGERIES], ids=[row[0] for row in FORGERIES]
)
def test_a_forged_bundle_is_refused_and_nothing_is_kept(
    offline: Vendor, tmp_path: Path, change: Any, words: str
) -> None:
    release_id, bundle = exported(offline, tmp_path)
    before = offline.store.releases.statements(release_id)
    result = offline.command("import", str(forged(bundle, change)))
    assert result.exit_code == 1
    assert words in result.output
    assert offline.store.releases.get(release_id).state == "awaiting_signature"
    assert offline.store.releases.statements(release_id) == before


def test_a_stick_that_counts_nowhere_signs_nothing(offline: Vendor, tmp_path: Path) -> None:
    release_id, bundle = exported(offline, tmp_path, signed=0)
    gone = read_public_key(offline.sticks[0].with_suffix(".pub.pem"))
    rotate(offline.folder, "release", old=gone.keyid)
    offline.reload()
    offline.command("export", release_id, "-o", str(bundle))
    result = offline.sign(bundle, offline.sticks[0])
    assert result.exit_code == 1
    assert "is no key that anything in this bundle needs" in result.output


def test_the_summary_is_read_from_what_is_signed(offline: Vendor, tmp_path: Path) -> None:
    _, bundle = exported(offline, tmp_path, signed=0)
    said = describe(read_bundle(forged(bundle, _another_profile).read_bytes()))
    assert "for 'jetson-nano'" in said[0]


def test_without_a_terminal_nobody_signs_by_accident(offline: Vendor, tmp_path: Path) -> None:
    _, bundle = exported(offline, tmp_path, signed=0)
    passphrase = ["--passphrase-file", str(offline.passphrase_file)]
    result = offline.command("sign", str(bundle), "--key", str(offline.sticks[0]), *passphrase, data=False)
    assert result.exit_code == 1
    assert "say --yes" in result.output


@given(st.binary(max_size=400))
def test_noise_is_no_bundle(noise: bytes) -> None:
    with pytest.raises(InvalidInputError):
        describe(read_bundle(noise))


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(at=st.integers(0, 100_000), value=st.integers(0, 255))
def test_a_bundle_with_one_byte_changed_is_refused_or_says_the_same(
    vendor: Vendor, at: int, value: int
) -> None:
    if not hasattr(vendor, "whole"):
        vendor.release_keys_elsewhere(1, threshold=1)
        release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[vendor.artifact("a")])
        items = vendor.store.signing.items(vendor.keys, release.id)
        vendor.whole = (release.id, make_bundle(vendor.keys.root, items))  # type: ignore[attr-defined]
    release_id, whole = vendor.whole  # type: ignore[attr-defined]
    data = bytearray(whole)
    data[at % len(data)] = value
    before = vendor.store.releases.statements(release_id)
    try:
        bundle = read_bundle(bytes(data))
        describe(bundle)
        for one in bundle.items:
            vendor.store.signing.take(vendor.keys, one.release, [one])
    except (InvalidInputError, NotFoundError, ConflictError):
        pass
    assert vendor.store.releases.statements(release_id) == before  # nothing here carries a signature


def test_an_endless_bundle_is_refused_unread() -> None:
    with pytest.raises(InvalidInputError, match="at most 16 MiB"):
        read_bundle(b"[" * (BUNDLE_MAX_BYTES + 1))


# --- withdrawn, and back again ----------------------------------------------------------------------------


def test_nobody_is_told_to_install_a_withdrawn_release(vendor: Vendor) -> None:
    digest = vendor.artifact("a")
    release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[digest])
    withdrawn = vendor.store.releases.withdraw(release.id, reason="answers nonsense", actor="ada")
    assert (withdrawn.state, withdrawn.withdrawn_reason) == ("withdrawn", "answers nonsense")
    with pytest.raises(ConflictError, match="was withdrawn: answers nonsense"):
        vendor.store.releases.statement(release.id, digest)
    with pytest.raises(ConflictError, match="withdrawn before"):
        vendor.store.releases.withdraw(release.id)
    with pytest.raises(ConflictError, match="nobody will get it"):
        vendor.store.signing.take(vendor.keys, release.id, [Item("release", {})])


def test_the_order_of_a_withdrawn_release_is_taken_from_the_broker_unless_the_device_runs_it(
    vendor: Vendor,
) -> None:
    store, digest = vendor.store, vendor.artifact("a")
    release = store.releases.create(vendor.keys, model=MODEL, digests=[digest])
    for device in ("asleep", "runs-it"):
        store.devices.register(device, "x86-pc", {}, actor=None)
        code, _ = store.devices.new_code(device, actor=None)
        store.devices.enrol(code, PUBLIC_KEY, Hardware(), "0.1.0")
        store.wants.issue(
            device,
            lambda counter, device=device: make_want(vendor.keys, device=device, counter=counter),
            rollout=None,
            release=release.id,
            digest=digest,
            public_key=PUBLIC_KEY,
        )
    store.device_states.record("runs-it", State(online=True, at_ms=1, seq=1, running=digest))
    assert store.wants.counters() == {"asleep": 1, "runs-it": 1}
    store.releases.withdraw(release.id)
    assert store.wants.counters() == {"asleep": 0, "runs-it": 1}
    assert [want.device for want in store.wants.stale(2**60)] == ["runs-it"]


def test_going_back_on_purpose_is_a_new_release_of_old_artifacts(vendor: Vendor) -> None:
    old, new = vendor.artifact("a"), vendor.artifact("b")
    releases = vendor.store.releases
    releases.create(vendor.keys, model=MODEL, digests=[old])
    bad = releases.create(vendor.keys, model=MODEL, digests=[new])
    back = releases.create_rollback(vendor.keys, model=MODEL, digests=[old], note="b is slow", of=bad.id)
    assert (back.counter, back.artifacts, back.rollback) == (3, {"x86-pc": old}, True)
    assert back.state == "signed"


def test_a_rollback_that_was_signed_beforehand_needs_no_key_in_the_night(
    offline: Vendor, tmp_path: Path
) -> None:
    old, new = offline.artifact("a"), offline.artifact("b")
    releases = offline.store.releases
    for digest in (old, new):
        release = releases.create(offline.keys, model=MODEL, digests=[digest])
        bundle = tmp_path / f"{release.id}.bundle"
        result = offline.command("export", release.id, "-o", str(bundle), "--with-rollback")
        assert result.exit_code == 0, result.output
        for stick in offline.sticks[:2]:
            offline.sign(bundle, stick)
        assert offline.command("import", str(bundle)).exit_code == 0
    back = releases.create_rollback(offline.keys, model=MODEL, digests=[old], note="slow", of=release.id)
    assert (back.state, back.counter, back.note) == ("signed", release.counter + 1, "slow")
    assert (
        releases.create_rollback(offline.keys, model=MODEL, digests=[old], of=release.id).state
        == "awaiting_signature"
    )  # there was one


def test_asking_for_the_way_back_again_exports_the_one_that_waits(offline: Vendor, tmp_path: Path) -> None:
    releases, bundle = offline.store.releases, tmp_path / "releases.bundle"
    for text in ("a", "b"):
        releases.create(offline.keys, model=MODEL, digests=[offline.artifact(text)])
    with offline.store.transaction() as connection:
        connection.execute("UPDATE releases SET state = 'signed' WHERE counter = 1")
    for _ in range(2):  # the first bundle was lost
        result = offline.command("export", "releases", "-o", str(bundle), "--with-rollback")
        assert result.exit_code == 0, result.output
        assert len(read_bundle(bundle.read_bytes()).items) == 2
        assert len(releases.list()) == 3


# --- after a change of the keys ---------------------------------------------------------------------------


def test_a_new_release_key_signs_again_what_the_old_one_signed(vendor: Vendor) -> None:
    digest = vendor.artifact("a")
    release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[digest])
    before = vendor.store.releases.statement(release.id, digest)
    result = vendor.command("rotate", "release")
    assert result.exit_code == 0, result.output
    keys = vendor.reload()
    after = vendor.store.releases.statement(release.id, digest)
    assert valid_signatures(keys, read_statement(before)) == 0
    assert valid_signatures(keys, read_statement(after)) == 1
    assert vendor.store.releases.get(release.id).counter == release.counter
    assert vendor.store.signing.follow(keys) == 0  # nothing more to do
    assert vendor.command("verify").exit_code == 0


def test_where_the_new_release_key_is_elsewhere_releases_wait_for_it(vendor: Vendor) -> None:
    release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[vendor.artifact("a")])
    vendor.release_keys_elsewhere(1, threshold=1)
    assert "has 0 of 1 good signatures" in vendor.command("verify").output
    assert vendor.store.signing.follow(vendor.keys) == 1
    assert vendor.store.releases.get(release.id).state == "awaiting_signature"
    assert vendor.store.signing.follow(vendor.keys) == 0


def test_a_release_key_that_only_goes_offline_leaves_releases_as_they_are(
    vendor: Vendor, tmp_path: Path
) -> None:
    release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[vendor.artifact("a")])
    take_offline(vendor.folder, "release", tmp_path / "stick", Passphrase(b"long enough"))
    assert vendor.store.signing.follow(vendor.reload()) == 0
    assert vendor.store.releases.get(release.id).state == "signed"


@pytest.mark.attack(
    "revoked release key", "a delta that it signed is offered to nobody; its release still is"
)
def test_a_delta_signed_by_a_key_that_was_revoked_is_offered_no_more(vendor: Vendor, tmp_path: Path) -> None:
    vendor.release_keys_elsewhere(2, threshold=1)
    store, base, full = vendor.store, vendor.artifact("a"), vendor.artifact("b")
    release = store.releases.create(vendor.keys, model=MODEL, digests=[full])
    bundle = tmp_path / "release.bundle"

    def sign(stick: Path) -> None:
        assert vendor.command("export", release.id, "-o", str(bundle)).exit_code == 0
        assert vendor.sign(bundle, stick).exit_code == 0
        assert vendor.command("import", str(bundle)).exit_code == 0

    sign(vendor.sticks[0])
    delta = vendor.delta(base, full)  # made later, and signed by whoever was there
    sign(vendor.sticks[1])
    assert store.deltas.offer(release.id, full, base) is not None
    store.devices.register("pi-4", "x86-pc", {}, actor=None)
    store.wants.issue(
        "pi-4",
        lambda counter: make_want(vendor.keys, device="pi-4", counter=counter),
        rollout=None,
        release=release.id,
        digest=full,
        public_key="",
        delta=delta,
    )
    gone = read_public_key(vendor.sticks[1].with_suffix(".pub.pem"))
    assert vendor.command("revoke", gone.keyid).exit_code == 0
    assert store.releases.get(release.id).state == "signed"
    assert store.deltas.offer(release.id, full, base) is None
    want = store.wants.find("pi-4")
    assert want is not None
    assert want.outdated == 1
    sign(vendor.sticks[0])
    assert store.deltas.offer(release.id, full, base) is not None


def test_protecting_the_keys_of_a_running_server_stops_nothing_in_it(vendor: Vendor) -> None:
    settings = Settings(data_dir=vendor.data)
    web = create_app(settings, vendor.store).extensions[EXTENSION]
    worker = Worker(settings, vendor.store, vendor.keys, start_child)
    assert web.keys.signs_releases
    result = vendor.command("protect", "--passphrase-file", str(vendor.passphrase_file))
    assert result.exit_code == 0, result.output
    assert vendor.store.audit.newest(1)[0].action == "keys_protect"
    with pytest.raises(StoreError, match="no passphrase given here opens it"):
        load_keys(vendor.folder)
    worker._renew_keys()
    assert web.keys.signs_releases


def test_statements_that_end_soon_are_signed_again(vendor: Vendor, clock: Clock) -> None:
    digest = vendor.artifact("a")
    release = vendor.store.releases.create(vendor.keys, model=MODEL, digests=[digest])
    first = read_statement(vendor.store.releases.statement(release.id, digest)).signed.expires
    clock.ms += int(timedelta(days=200).total_seconds() * 1000)
    assert vendor.store.signing.follow(vendor.keys) == 1
    again = read_statement(vendor.store.releases.statement(release.id, digest)).signed.expires
    assert again - first == timedelta(days=200)


def test_a_new_director_key_signs_every_order_again(vendor: Vendor) -> None:
    vendor.store.devices.register("pi-4", "x86-pc", {}, actor=None)
    vendor.store.wants.issue(
        "pi-4",
        lambda counter: make_want(vendor.keys, device="pi-4", counter=counter),
        rollout=None,
        release=None,
        digest=None,
        public_key="",
    )

    def outdated() -> int:
        want = vendor.store.wants.find("pi-4")
        assert want is not None
        return want.outdated

    vendor.store.signing.follow(vendor.keys)
    assert outdated() == 0
    rotate(vendor.folder, "director")
    vendor.store.signing.follow(vendor.reload())
    assert outdated() == 1
