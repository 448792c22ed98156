"""Carries out what `decide` and `next_step` say. It keeps nothing that a restart would miss.

Every change of a finding is one transaction that reads it again first, so several workers may look at once,
people may accept and dismiss meanwhile, and a kill leaves either what was or what is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from edgepress_compression.search.budget import Budget
from edgepress_devices.prediction import Prediction
from edgepress_devices.profile import InvalidProfile
from edgepress_server.errors import ConflictError, NotFoundError, RateLimitedError, ServerError
from edgepress_server.predict import ExecutedModels
from edgepress_server.predict.executed import NotPredictableError
from edgepress_server.store import Store
from edgepress_server.store.budgets import FleetBudget
from edgepress_server.store.findings import OVER, Finding, FindingKind, FindingScope, Observed
from edgepress_server.trust.keys import Keys
from edgepress_server.watch import costs, words
from edgepress_server.watch.decide import Verdict
from edgepress_server.watch.next_step import (
    RETRY_MAX_MS,
    Action,
    BackOff,
    Calibrate,
    Propose,
    Release,
    StartSearch,
    Wait,
    back_off_ms,
    next_step,
)
from edgepress_server.watch.observe import Look, facts, look, search_facts

log = logging.getLogger(__name__)

LOOK_S: Final = 3.0  # between two looks at the fleet
SEARCH_OPTIONS: Final = {"seconds": 900, "workers": 1}
PREDICT_WAIT_S: Final = 2.0  # for the operators of an artifact; asked again at the next look
PREDICT_GIVE_UP_MS: Final = 3 * 60_000
_LIMITED: Final[dict[FindingKind, str]] = {  # the field of a budget
    "latency": "latency_us",
    "memory": "memory_bytes",
    "energy": "energy_mj",
    "prediction": "prediction_error",
}


class Watcher:
    """`tick` it as often as you like."""

    def __init__(self, store: Store, keys: Keys, executed: ExecutedModels) -> None:
        self._store = store
        self.keys = keys
        self._executed = executed
        self._due_s = 0.0

    def tick(self) -> None:
        """One look at every budget and every finding that is not over, if one is due."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + LOOK_S
        self.look()

    def look(self) -> None:
        for budget in self._store.budgets.list():
            try:
                self._look(budget)
            except ServerError as error:
                log.warning("the budget of %s on %s: %s", budget.model, budget.profile, error.message)
        for finding in self._store.findings.list(over=False):
            if self._store.budgets.find(finding.model, finding.profile) is None:
                self._resolve(finding, "The budget was taken back.")

    def _look(self, budget: FleetBudget) -> None:
        store = self._store
        looks = look(store, budget)
        live = [
            finding
            for finding in store.findings.list(model=budget.model, profile=budget.profile, over=False)
            if not self._settled(finding, looks)
        ]
        replaced = self._being_replaced(budget)
        for one in looks:
            for verdict in one.verdicts:
                known = [f for f in live if (f.kind, f.scope) == (verdict.kind, verdict.scope)]
                if known or verdict.state != "missed":
                    continue
                if one.digest not in replaced:
                    self._open(budget, one, verdict)
        for finding in store.findings.list(model=budget.model, profile=budget.profile, over=False):
            if getattr(budget, _LIMITED[finding.kind]) is None:
                self._resolve(finding, "The budget limits it no more.")
            else:
                self._follow(budget, finding, looks)

    # --- what telemetry says ------------------------------------------------------------------------------

    def _open(self, budget: FleetBudget, one: Look, verdict: Verdict) -> None:
        findings = self._store.findings
        key = (budget.model, budget.profile, verdict.kind, verdict.scope)
        with self._store.transaction():
            if findings.live(*key) is not None or findings.was_dismissed(*key, one.digest):
                return
            finding = findings.open(*key, self._observed(budget, one, verdict), *self._patience(key))
            log.info("finding %s: %s", finding.id, finding.sentence)
            if verdict.scope == "device":
                advice = words.device_advice(budget.profile, verdict.devices)
                findings.move(finding, "open", advice)
                findings.tell(finding.id, "advice", advice)

    def _patience(self, key: tuple[str, str, FindingKind, FindingScope]) -> tuple[int, int | None]:
        """(searches so far, not before) that a finding takes over from one that was over a short while ago: a
        miss that returns, whatever became of the artifact, is the same one."""
        before = self._store.findings.newest_over(*key)
        now = self._store.now_ms()
        if before is None or not before.attempts or now - (before.ended_at or 0) > RETRY_MAX_MS:
            return 0, None
        searched_at = max(
            (step.at for step in self._store.findings.steps(before.id) if step.what == "search"), default=0
        )
        return before.attempts, max(before.next_try_at or 0, searched_at + back_off_ms(before.attempts))

    def _observed(self, budget: FleetBudget, one: Look, verdict: Verdict) -> Observed:
        now = self._store.now_ms()
        return Observed(
            digest=one.digest,
            rollout=one.rollout,
            measured=verdict.measured,
            limit=verdict.limit,
            figures=costs.figures(one.verdicts),
            predicted_us=one.predicted_us,
            devices=verdict.devices,
            judged=verdict.judged,
            inferences=verdict.inferences,
            since=now if verdict.since_ms is None else verdict.since_ms,
            sentence=words.missed(
                verdict,
                model=budget.model,
                profile=budget.profile,
                now_ms=now,
                predicted_us=one.predicted_us,
            ),
        )

    def _settled(self, finding: Finding, looks: Sequence[Look]) -> bool:
        """Bring a finding up to date with what is seen now; True: it is over."""
        released = finding.state == "released"
        digest = finding.chosen if released else finding.digest
        one = next((each for each in looks if each.digest == digest), None)
        if one is None:
            runs = any(each.digest == finding.digest for each in looks)
            if released and not self._rolled_out(finding):
                return False  # its rollout is under way
            if runs and released:
                self._back_off(finding, "The devices run the artifact of before again.")
            return False if runs else self._resolve(finding, "No device runs the artifact any more.")
        verdict = _verdict(finding, one)
        if verdict is None:
            return False
        if verdict.state == "kept" and self._may_resolve(finding):
            kept = words.kept(verdict, model=finding.model, profile=finding.profile)
            return self._resolve(finding, kept)
        if verdict.state == "missed" and finding.state in ("open", "proposed", "searching"):
            self._see(finding, one, verdict)
        return False

    def _rolled_out(self, finding: Finding) -> bool:
        return finding.new_rollout is not None and self._store.rollouts.state(finding.new_rollout) == "done"

    def _may_resolve(self, finding: Finding) -> bool:
        """A prediction that was made right by a calibration still asks what else would be chosen now."""
        return finding.kind != "prediction" or finding.state in ("open", "proposed", "released")

    def _see(self, finding: Finding, one: Look, verdict: Verdict) -> None:
        budget = self._store.budgets.find(finding.model, finding.profile)
        if budget is None:
            return
        seen = self._observed(budget, one, verdict)
        if seen.sentence == finding.sentence:  # rounded as it is for people: no write for each sample
            return
        with self._store.transaction():
            now = self._store.findings.get(finding.id)
            if now.state not in OVER and now.digest == seen.digest:
                self._store.findings.see(now, seen)

    def _resolve(self, finding: Finding, sentence: str) -> bool:
        with self._store.transaction():
            now = self._store.findings.get(finding.id)
            if now.state in OVER or now.state != finding.state:
                return now.state in OVER
            self._call_off(now)
            self._store.findings.tell(finding.id, "resolved", sentence)
            self._store.findings.move(now, "resolved", sentence)
        log.info("finding %s is resolved: %s", finding.id, sentence)
        return True

    def _call_off(self, finding: Finding) -> None:
        """What was started for a finding and is not over is not needed any more."""
        call_off(self._store, finding)

    def _being_replaced(self, budget: FleetBudget) -> set[str]:
        """Artifacts on devices that a rollout under way brings another one of this model."""
        found: set[str] = set()
        for rollout_id in self._store.rollouts.active():
            rollout = self._store.rollouts.summary(rollout_id)
            new = rollout.release.artifacts.get(budget.profile)
            if rollout.release.model == budget.model and new is not None:
                found |= {
                    one.digest
                    for one in self._store.running.of(budget.model, budget.profile, self._store.now_ms())
                    if one.digest != new
                }
        return found

    # --- what follows -------------------------------------------------------------------------------------

    def _follow(self, budget: FleetBudget, finding: Finding, looks: Sequence[Look]) -> None:
        if finding.scope == "device":
            return
        states = {
            each.digest: verdict.state for each in looks if (verdict := _verdict(finding, each)) is not None
        }
        known = facts(
            self._store,
            finding,
            budget,
            missed_now=states.get(finding.digest) == "missed",
            missed_again=finding.state == "released" and states.get(finding.chosen or "") == "missed",
        )
        action = next_step(known)
        if action is None or (isinstance(action, Wait) and action.message == finding.message):
            self._tell_rollout(finding)
            return
        try:
            self._act(budget, finding, action)
        except ServerError as error:
            if error.status >= 500:  # the store is busy, the disk is full: the next look tries again
                raise
            self._back_off(finding, error.message)

    def _act(self, budget: FleetBudget, finding: Finding, action: Action) -> None:
        asked = None
        if isinstance(action, StartSearch):
            asked = self._ask(budget, finding)  # may take a moment: outside of the transaction
            if asked is None:
                return
        with self._store.transaction():
            now = self._store.findings.get(finding.id)
            if now.state != finding.state or now.accepted_by != finding.accepted_by:
                return  # another worker or a person was faster
            findings = self._store.findings
            match action:
                case Wait(message):
                    findings.move(now, now.state, message)
                case Propose(message):
                    findings.move(now, "proposed", message)
                    findings.tell(now.id, "proposed", message)
                case Calibrate(devices):
                    self._calibrate(budget, now, devices)
                case StartSearch(uncalibrated):
                    if asked is not None:
                        self._search(budget, now, asked, uncalibrated)
                case Release(digest):
                    self._release(now, digest)
                case BackOff(message, next_try_at):
                    self._hold_rollout(now, message)
                    self._open_again(now, message, next_try_at)
        self._tell_rollout(finding)

    def _calibrate(self, budget: FleetBudget, finding: Finding, devices: Sequence[str]) -> None:
        jobs: list[str] = []
        refused: list[str] = []
        for device in devices:
            for what in ("device", "model"):
                try:
                    job = self._store.profiling.request(
                        device,
                        "device" if what == "device" else "model",
                        budget.profiling_s,
                        finding.accepted_by,
                    )
                except ServerError as error:
                    refused.append(error.message)
                else:
                    jobs.append(job.id)
        findings = self._store.findings
        sentence = (
            f"{words.names(devices)} {'is' if len(devices) == 1 else 'are'} asked to measure what "
            f"{'it does' if len(devices) == 1 else 'they do'} now, {budget.profiling_s} s each time"
        )
        findings.tell(finding.id, "profiling", f"{sentence}. {' '.join(refused)}".strip(), about="profile",
                      about_id=finding.profile, actor=finding.accepted_by)  # fmt: skip
        findings.move(finding, "calibrating", sentence, jobs=jobs)

    def _ask(self, budget: FleetBudget, finding: Finding) -> tuple[Budget, list[str]] | None:
        """What the search is asked for; None: not known yet."""
        prediction: Prediction | None = None
        timed_us: float | None = None
        try:
            profile = self._store.profiles.resolve(finding.profile)
            timed_us = costs.timed_here(self._store, finding.digest, profile)
            prediction = costs.prediction_of(
                self._store, self._executed, finding.digest, profile, wait_s=PREDICT_WAIT_S
            )
            late_ms = self._store.now_ms() - finding.updated_at
            if prediction is None and late_ms < PREDICT_GIVE_UP_MS:
                return None
        except (NotPredictableError, RateLimitedError, InvalidProfile) as error:
            log.warning("finding %s: the running artifact is not predicted: %s", finding.id, error)
        return costs.ask(budget, finding.figures, prediction, timed_us)

    def _search(
        self,
        budget: FleetBudget,
        finding: Finding,
        asked: tuple[Budget, list[str]],
        uncalibrated: str,
    ) -> None:
        findings = self._store.findings
        limits, why = asked
        if uncalibrated:
            findings.tell(finding.id, "not_calibrated", uncalibrated)
        else:
            self._tell_calibration(finding)
        if limits.empty:
            self._open_again(
                finding,
                "The budget has no limit that a search could look for.",
                self._store.now_ms() + back_off_ms(finding.attempts + 1),
            )
            return
        search = self._store.searches.submit(
            model=finding.model,
            profile=finding.profile,
            dataset=self._store.models.get(finding.model).dataset,
            budget=as_mapping(limits),
            options={**SEARCH_OPTIONS, **budget.options},
            actor=finding.accepted_by,
            reason=f"{finding.sentence}.",
            finding=finding.id,
        )
        sentence = f"Search {search.id[:6]} looks for {limits.words()}"
        if why:
            sentence += ": " + "; ".join(why)
        findings.tell(finding.id, "search", sentence, about="search", about_id=search.id)
        findings.move(
            finding, "searching", sentence, search=search.id, attempts=finding.attempts + 1, next_try_at=None
        )

    def _tell_calibration(self, finding: Finding) -> None:
        """What came of the times that its devices measured."""
        asked_at = max(
            (step.at for step in self._store.findings.steps(finding.id) if step.what == "profiling"),
            default=0,
        )
        newest = self._store.calibrations.history(finding.profile, 1)
        if newest and newest[0].at >= asked_at:
            said = f"Profile {finding.profile} was fitted to the new times: {newest[0].message}"
        else:
            last = self._store.refits.last(finding.profile)
            why = last.message if last is not None else ""
            said = f"The new times change nothing about profile {finding.profile}. {why}".strip()
        self._store.findings.tell(finding.id, "calibrated", said, about="profile", about_id=finding.profile)

    def _release(self, finding: Finding, digest: str) -> None:
        store, findings = self._store, self._store.findings
        search = None if finding.search is None else search_facts(store, finding.search, finding)
        found = search.words if search is not None else f"artifact {digest[:10]} was found"
        why = f"Started because {_lower(finding.sentence)}; {found}."
        findings.tell(finding.id, "found", f"{found[0].upper()}{found[1:]}", about="search",
                      about_id=finding.search)  # fmt: skip
        release = store.releases.create(
            self.keys, model=finding.model, digests=[digest], note=why, actor=finding.accepted_by
        )
        rollout = store.rollouts.create(
            release.id,
            devices=store.running.targets(finding.model, finding.profile),
            # No limits: these devices miss the budget now, and the watch says whether it became better.
            policy={"canary_per_profile": 1},
            actor=finding.accepted_by,
        )
        findings.tell(finding.id, "released", f"Release {release.counter} is rolled out to "
                      f"{words.count(len(rollout.devices), 'device')}, a canary first",
                      about="rollout", about_id=rollout.id)  # fmt: skip
        findings.move(finding, "released", why, chosen=digest, release=release.id, new_rollout=rollout.id)

    def _open_again(self, finding: Finding, message: str, next_try_at: int) -> None:
        wait = words.span(next_try_at - self._store.now_ms())
        message = f"{message.rstrip('. ')}. Tried again in {wait} at the earliest."
        self._store.findings.tell(finding.id, "not_found", message)
        self._store.findings.move(
            finding,
            "open",
            message,
            next_try_at=next_try_at,
            accepted_by=None,
            release_too=False,
            search=None,
            jobs=[],
            **({"chosen": None, "release": None} if finding.state == "released" else {}),
        )

    def _hold_rollout(self, finding: Finding, message: str) -> None:
        """What its canaries show is not brought to the others."""
        if finding.state == "released" and finding.new_rollout is not None:
            try:
                self._store.rollouts.pause(finding.new_rollout, reason=message)
            except (ConflictError, NotFoundError):  # over, or held already
                pass

    def _back_off(self, finding: Finding, message: str) -> None:
        with self._store.transaction():
            now = self._store.findings.get(finding.id)
            if now.state == finding.state:
                attempts = max(1, now.attempts)
                self._open_again(now, message, self._store.now_ms() + back_off_ms(attempts))

    def _tell_rollout(self, finding: Finding) -> None:
        """The end of its rollout is a line of the story."""
        if finding.state != "released" or finding.new_rollout is None:
            return
        rollout = self._store.rollouts.summary(finding.new_rollout)
        if rollout.state != "done":
            return
        if any(step.what == "rolled_out" and step.about_id == rollout.id
               for step in self._store.findings.steps(finding.id)):  # fmt: skip
            return
        with self._store.transaction():
            if self._store.findings.get(finding.id).state == "released":
                self._store.findings.tell(
                    finding.id, "rolled_out", f"The rollout is done: {rollout.reason}",
                    about="rollout", about_id=rollout.id,
                )  # fmt: skip


def call_off(store: Store, finding: Finding) -> None:
    """End the search and the profiling jobs that were started for a finding; those that are over stay."""
    for search in store.searches.live():
        if search.finding == finding.id:
            store.searches.cancel(search.id, actor=None)
    for job_id in finding.jobs:
        try:
            job = store.profiling.get(job_id)
        except NotFoundError:  # over so long that it is forgotten
            continue
        if job.is_open:
            store.profiling.cancel(job_id, actor=None)


def as_mapping(limits: Budget) -> dict[str, float | int | None]:
    return {
        "latency_us": limits.latency_us,
        "artifact_bytes": limits.artifact_bytes,
        "memory_bytes": limits.memory_bytes,
        "energy_mj": limits.energy_mj,
        "max_drop": limits.max_drop,
    }


def _verdict(finding: Finding, one: Look) -> Verdict | None:
    return next((v for v in one.verdicts if (v.kind, v.scope) == (finding.kind, finding.scope)), None)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
