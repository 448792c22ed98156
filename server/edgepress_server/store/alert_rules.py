"""Alert rules. Those that come with the server are put in at its first start and are changed like any other.

A shipped rule that a person changed, or switched off, stays as it is when a newer server ships another form
of it; `reset` takes the newest shipped form. One that was deleted is remembered as deleted: a fact lists all
names that were ever put in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_server.alerts.rule import RULES_MAX, Rule, check, decode, encode
from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.facts import Facts

_PUT_IN: Final = "alert_rules.shipped"  # names of the shipped rules that were ever put in


@dataclass(frozen=True)
class KeptRule:
    rule: Rule
    shipped: Rule | None  # as it came with the server
    created_at: int
    updated_at: int
    actor: str | None

    @property
    def is_changed(self) -> bool:
        """It came with the server and is not as it came."""
        return self.shipped is not None and self.shipped != self.rule


class AlertRules:
    def __init__(self, database: Database, events: Events, facts: Facts) -> None:
        self._database = database
        self._events = events
        self._facts = facts

    def list(self) -> list[KeptRule]:
        """By name."""
        return [_kept(row) for row in self._database.rows("SELECT * FROM alert_rules ORDER BY name")]

    def find(self, name: str) -> KeptRule | None:
        row = self._database.row("SELECT * FROM alert_rules WHERE name = ?", (name,))
        return None if row is None else _kept(row)

    def get(self, name: str) -> KeptRule:
        """Raises NotFoundError."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(
                "alert_rule_unknown",
                f"There is no alert rule {name[:80]!r}; `edgepress alert rules` shows them.",
            )
        return found

    def put(self, rule: Rule, *, actor: str | None) -> KeptRule:
        """Make it, or put it in the place of the one of its name. Raises as `check`, and ConflictError."""
        check(rule)
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            old = self.find(rule.name)
            if old is None and len(self.list()) >= RULES_MAX:
                raise ConflictError(
                    "too_many_rules", f"There are {RULES_MAX} alert rules already. Remove one first."
                )
            connection.execute(
                "INSERT INTO alert_rules (name, rule, created_at, updated_at, actor) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET rule = excluded.rule, updated_at = excluded.updated_at,"
                " actor = excluded.actor",
                (rule.name, encode(rule), now, now, actor),
            )
            self._events.append("alert", rule.name, "rule_set", actor=actor, data={"enabled": rule.enabled})
            return self.get(rule.name)

    def enable(self, name: str, enabled: bool, *, actor: str | None) -> KeptRule:
        """Raises NotFoundError."""
        with self._database.transaction():
            return self.put(msgspec.structs.replace(self.get(name).rule, enabled=enabled), actor=actor)

    def reset(self, name: str, *, actor: str | None) -> KeptRule:
        """As it came with the server. Raises NotFoundError, ConflictError when it did not."""
        with self._database.transaction():
            kept = self.get(name)
            if kept.shipped is None:
                raise ConflictError(
                    "not_shipped", f"The alert rule {name} was made here; there is nothing to set it back to."
                )
            return self.put(kept.shipped, actor=actor)

    def remove(self, name: str, *, actor: str | None) -> None:
        """Raises NotFoundError. What fires by it is resolved at the engine's next look."""
        with self._database.transaction() as connection:
            self.get(name)
            connection.execute("DELETE FROM alert_rules WHERE name = ?", (name,))
            self._events.append("alert", name, "rule_removed", actor=actor)

    def install(self, shipped: Sequence[Rule]) -> None:
        """Put in the shipped rules that never were, and newer forms of those that nobody changed."""
        known = set(self._facts.get(_PUT_IN) or ())
        kept = {each.rule.name: each for each in self.list()}
        if known.issuperset(r.name for r in shipped) and all(
            r.name not in kept or kept[r.name].shipped == r for r in shipped
        ):
            return
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            for rule in shipped:
                old = kept.get(rule.name)
                if old is None and rule.name not in known:
                    connection.execute(
                        "INSERT OR IGNORE INTO alert_rules (name, rule, shipped, created_at, updated_at)"
                        " VALUES (?, ?, ?, ?, ?)",
                        (rule.name, encode(rule), encode(rule), now, now),
                    )
                elif old is not None and old.shipped != rule:
                    form = old.rule if old.is_changed or old.shipped is None else rule
                    connection.execute(
                        "UPDATE alert_rules SET rule = ?, shipped = ? WHERE name = ?",
                        (encode(form), encode(rule), rule.name),
                    )
            self._facts.set(_PUT_IN, sorted(known | {rule.name for rule in shipped}))


def _kept(row: sqlite3.Row) -> KeptRule:
    return KeptRule(
        rule=decode(row["rule"]),
        shipped=None if row["shipped"] is None else decode(row["shipped"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        actor=row["actor"],
    )
