"""What the device does next: a table of cases, and a world in which anything may die at any time."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgepress_agent.job import (
    TRIAL_STARTS_MAX,
    Begin,
    Commit,
    Desired,
    Fetch,
    Have,
    Reject,
    Stage,
    Step,
    StopRunning,
    Try,
    Verify,
    Wait,
    next_step,
)
from edgepress_devices.protocol import JobStep

NEW = Desired("new", chunks=3)

CASES: list[tuple[str, Desired | None, Have, type[Step]]] = [
    ("without a want nothing happens", None, Have(), Wait),
    (
        "without a want what runs keeps running",
        None,
        Have(running="old", step="committed", target="old"),
        Wait,
    ),
    ("a new artifact is begun", NEW, Have(), Begin),
    ("a new artifact is begun while the old one runs", NEW, Have("committed", "old", running="old"), Begin),
    ("an artifact that replaces one on its way is begun", NEW, Have("fetching", "other", chunks=1), Begin),
    ("missing chunks are fetched", NEW, Have("fetching", "new", chunks=2), Fetch),
    ("a whole artifact is verified", NEW, Have("fetching", "new", chunks=3), Verify),
    ("a verified artifact is staged", NEW, Have("verified", "new", chunks=3, checked=True), Stage),
    (
        "verified on disk, but not yet in the journal",
        NEW,
        Have("fetching", "new", chunks=3, checked=True),
        Stage,
    ),
    ("a staged artifact is tried", NEW, Have("staged", "new", staged="new"), Try),
    ("staged on disk, but not yet in the journal", NEW, Have("verified", "new", staged="new"), Try),
    ("a death in the trial is forgiven once", NEW, Have("trial", "new", staged="new", trial_starts=1), Try),
    (
        "two deaths in the trial are not",
        NEW,
        Have("trial", "new", staged="new", trial_starts=TRIAL_STARTS_MAX),
        Reject,
    ),
    ("switched on disk, but not yet in the journal", NEW, Have("trial", "new", running="new"), Commit),
    ("what runs and is committed is left alone", NEW, Have("committed", "new", running="new"), Wait),
    ("wanting what runs already is committed at once", NEW, Have("idle", None, running="new"), Commit),
    ("a rejected artifact is not tried again", NEW, Have("rejected", "new", running="old"), Wait),
    ("a rolled back one neither", NEW, Have("rolled_back", "new", running="old"), Wait),
    ("a failed one waits for its time", NEW, Have("failed", "new", retry_at_s=11.0), Wait),
    ("a failed one begins again when it has come", NEW, Have("failed", "new", retry_at_s=10.0), Begin),
    (
        "a failed trial is tried again, not fetched",
        NEW,
        Have("failed", "new", staged="new", retry_at_s=9.0),
        Try,
    ),
    ("committed but lost is fetched again", NEW, Have("committed", "new"), Begin),
    ("wanting nothing stops the model", Desired(None), Have("committed", "old", running="old"), StopRunning),
    ("wanting nothing ends an installation", Desired(None), Have("fetching", "new"), StopRunning),
    ("wanting nothing and running nothing is settled", Desired(None), Have(), Wait),
    ("an expired want installs nothing", replace(NEW, may_install=False), Have(running="old"), Wait),
    ("not even what is staged", replace(NEW, may_install=False), Have("staged", "new", staged="new"), Wait),
    (
        "an expired want for what runs is committed",
        replace(NEW, may_install=False),
        Have(running="new"),
        Commit,
    ),
]


@pytest.mark.parametrize(("desired", "have", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_next_step(desired: Desired | None, have: Have, expected: type[Step]) -> None:
    assert type(next_step(desired, have, 10.0)) is expected


def test_a_waiting_failure_says_until_when() -> None:
    assert next_step(NEW, Have("failed", "new", retry_at_s=11.0), 10.0) == Wait(until_s=11.0)


class Device(RuleBasedStateMachine):
    """A device whose process may die inside any step: after the change on disk, before the journal says so.

    ``bad`` artifacts do not pass their trial, ``deadly`` ones kill the process in it.
    """

    GOOD, BAD, DEADLY = "good", "bad", "deadly"
    CHUNKS = 3

    @initialize()
    def begin(self) -> None:
        self.have = Have()
        self.desired: Desired | None = None
        self.trials_passed: set[str] = set()
        self.on_disk: dict[str, int] = {}  # chunks of the artifact being fetched
        self.in_slot: str | None = None
        self.deaths = 0

    @rule(kind=st.sampled_from([GOOD, BAD, DEADLY]), number=st.integers(0, 2))
    def want(self, kind: str, number: int) -> None:
        digest = f"{kind}{number}"
        if self.have.target != digest or self.have.step in ("rejected", "failed", "rolled_back"):
            self._journal("idle", None)
            self.deaths = 0
        self.desired = Desired(digest, self.CHUNKS)
        self._look()

    @rule()
    def want_nothing(self) -> None:
        self.desired = Desired(None)
        self._look()

    @precondition(lambda self: self.desired is not None and isinstance(self._step(), Fetch))
    @rule()
    def chunk_arrives(self) -> None:
        assert self.desired is not None and self.desired.digest is not None
        assert self.on_disk[self.desired.digest] < self.CHUNKS, "a chunk was fetched twice"
        self.on_disk[self.desired.digest] += 1
        self._look()

    @rule(dies=st.booleans())
    def do_next_step(self, dies: bool) -> None:
        step = self._step()
        digest = self.desired.digest if self.desired else None
        match step:
            case Begin():
                assert digest is not None
                self.on_disk = {digest: self.on_disk.get(digest, 0)}
                self._finish("staged" if self.in_slot == digest else "fetching", digest, dies)
            case Verify():
                self._finish("verified", digest, dies, checked=True)
            case Stage():
                assert self.have.checked, "an artifact was staged that nobody verified"
                self.in_slot, self.on_disk = digest, {}
                self._finish("staged", digest, dies, checked=False)
            case Try():
                self._try(digest or "", dies)
            case Commit():
                self._finish("committed", digest, dies)
            case Reject():
                self.in_slot = None
                self._finish("rejected", digest, dies)
                self._journal("rejected", digest)
            case StopRunning():
                self.have = replace(self.have, running=None)
                self._finish("idle", None, dies)
        self._look()

    def _try(self, digest: str, dies: bool) -> None:
        self.deaths += 1  # counted before it begins
        self._journal("trial", digest)
        if digest.startswith(self.DEADLY) or dies:
            return  # the process is gone; the next one finds TRIAL and the count
        self.deaths = 0
        if digest.startswith(self.BAD):
            self.in_slot = None
            self._journal("rejected", digest)
            return
        self.trials_passed.add(digest)
        self.have = replace(self.have, running=digest)
        self._journal("committed", digest)

    def _finish(self, step: JobStep, target: str | None, dies: bool, **facts: bool) -> None:
        self.have = replace(self.have, **facts)  # type: ignore[arg-type]
        if not dies:
            self._journal(step, target)

    def _journal(self, step: JobStep, target: str | None) -> None:
        self.have = replace(self.have, step=step, target=target)

    def _look(self) -> None:
        """The facts as the installer would find them."""
        digest = self.desired.digest if self.desired else None
        self.have = replace(
            self.have,
            staged=digest if digest and self.in_slot == digest else None,
            chunks=self.on_disk.get(digest or "", 0),
            checked=self.have.checked and bool(digest) and self.on_disk.get(digest or "", 0) == self.CHUNKS,
            trial_starts=self.deaths,
        )

    def _step(self) -> Step:
        return next_step(self.desired, self.have, 0.0)

    @invariant()
    def only_what_passed_its_trial_runs(self) -> None:
        assert self.have.running is None or self.have.running in self.trials_passed

    @invariant()
    def a_deadly_model_is_tried_twice_at_most(self) -> None:
        assert self.deaths <= TRIAL_STARTS_MAX

    @invariant()
    def it_settles_when_nothing_dies(self) -> None:
        """From here, with chunks arriving and no more deaths but those of deadly models, it comes to rest."""
        saved = (self.have, dict(self.on_disk), self.in_slot, self.deaths, set(self.trials_passed))
        for _ in range(40):
            step = self._step()
            if isinstance(step, Wait):
                break
            if isinstance(step, Fetch):
                self.chunk_arrives()
            else:
                self.do_next_step(False)
        else:
            raise AssertionError(f"it never comes to rest: {self.have}")
        if self.desired is not None and self.desired.digest is not None:
            good = self.desired.digest.startswith(self.GOOD)
            rejected = saved[0].step == "rejected" and saved[0].target == self.desired.digest
            died = self.have.step == "rejected"  # a good model whose trial was cut off twice
            assert (self.have.running == self.desired.digest) == (good and not rejected and not died)
        self.have, self.on_disk, self.in_slot, self.deaths, self.trials_passed = saved


Device.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestDevice = Device.TestCase
