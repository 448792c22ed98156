"""A small language that says which devices: ``profile = raspberry-pi-4 and (site = "hall 3" or not test)``.

::

    query   = and { "or" and }
    and     = not { "and" not }
    not     = "not" not | "(" query ")" | term
    term    = field [ operator value | "in" "(" value { "," value } ")" ]
    value   = "text in quotes" | bare word: letters, digits, - _ . : / * +
    operator= "=" "!=" "<" "<=" ">" ">="

Fields are ``name profile status online running model release agent board system machine group`` and every
label: ``site`` or, where a label has the name of a field, ``label.site``. A term without an operator asks
whether the device has it at all (``label.test``), and whether it is so (``online``).

* ``=`` and ``!=``: ``*`` in a value stands for any characters. Case counts.
* ``<`` and the like compare numbers and versions part by part: 0.10 is newer than 0.9, and 1.0 equals 1.
* What a device does not have is not equal to anything, nor smaller, nor larger: ``!=`` is true of it.
* Errors point at the character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from edgepress_server.errors import InvalidInputError

MAX_CHARS: Final = 2000
MAX_TERMS: Final = 200
MAX_DEPTH: Final = 40

FIELDS: Final = (
    "name",
    "profile",
    "status",
    "online",
    "running",
    "model",
    "release",
    "agent",
    "board",
    "system",
    "machine",
    "group",
)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\["\\])*")|(?P<op><=|>=|!=|=|<|>)|(?P<mark>[(),])|(?P<word>[\w.:/*+-]+))"""
)
_WORDS: Final = ("and", "or", "not", "in")


class QueryError(InvalidInputError):
    """The query cannot be read; ``at`` is the character (from 0) where it goes wrong."""

    def __init__(self, query: str, at: int, what: str) -> None:
        start = max(0, at - 30)
        shown = query[start : at + 30].replace("\n", " ").replace("\t", " ")
        mark = " " * (at - start) + "^"
        super().__init__("bad_query", f"{what} (character {at + 1}):\n  {shown}\n  {mark} here.")
        self.at = at


@dataclass(frozen=True)
class Subject:
    """What a query may ask of a device; None: not known, or nothing."""

    name: str
    profile: str
    status: str = "online"  # registered, online, offline, revoked
    running: str | None = None  # digest of the artifact
    model: str | None = None  # of what it runs
    release: int | None = None  # counter of the release it runs
    agent: str | None = None
    board: str | None = None
    system: str | None = None
    machine: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str | None:
        if name == "online":
            return "true" if self.status == "online" else None
        if name.startswith("label."):
            return self.labels.get(name.removeprefix("label."))
        if name in FIELDS:
            found = getattr(self, name)
            return None if found is None else str(found)
        return self.labels.get(name)


InGroup = Callable[[str, Subject], bool]
Test = Callable[[Subject, InGroup], bool]


@dataclass(frozen=True)
class Query:
    text: str
    fields: frozenset[str]  # that it asks for
    groups: frozenset[str]  # that it names
    _test: Test

    def matches(self, subject: Subject, in_group: InGroup | None = None) -> bool:
        """``in_group(name, subject)`` answers for ``group = name``; without it nobody is in a group."""
        return self._test(subject, in_group or (lambda _name, _subject: False))


@dataclass(frozen=True)
class _Token:
    kind: str  # text, op, mark, word, end
    value: str
    at: int


def parse(text: str) -> Query:
    """Raises QueryError, which points at the character."""
    if len(text) > MAX_CHARS:
        raise QueryError(text, MAX_CHARS, f"The query is longer than {MAX_CHARS} characters")
    reader = _Reader(text)
    test = reader.query(0)
    reader.end()
    return Query(text, frozenset(reader.fields), frozenset(reader.groups), test)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._read(text)
        self._next = 0
        self._terms = 0
        self.fields: set[str] = set()
        self.groups: set[str] = set()

    @staticmethod
    def _read(text: str) -> list[_Token]:
        tokens, at = [], 0
        end = len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                what = "A quote is not closed" if text[at] == '"' else f"{text[at]!r} has no meaning here"
                raise QueryError(text, at, what)
            kind = match.lastgroup or ""
            value = match[kind]
            if kind == "text":
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            tokens.append(_Token(kind, value, match.start(kind)))
            at = match.end()
        return [*tokens, _Token("end", "", end)]

    def query(self, depth: int) -> Test:
        tests = [self._and(depth)]
        while self._takes("word", "or"):
            tests.append(self._and(depth))
        return tests[0] if len(tests) == 1 else lambda s, g: any(test(s, g) for test in tests)

    def end(self) -> None:
        token = self._peek()
        if token.kind != "end":
            raise QueryError(self._text, token.at, "Here `and`, `or` or the end is expected")

    def _and(self, depth: int) -> Test:
        tests = [self._not(depth)]
        while self._takes("word", "and"):
            tests.append(self._not(depth))
        return tests[0] if len(tests) == 1 else lambda s, g: all(test(s, g) for test in tests)

    def _not(self, depth: int) -> Test:
        token = self._peek()
        if depth > MAX_DEPTH:
            raise QueryError(self._text, token.at, f"More than {MAX_DEPTH} levels of `not` and brackets")
        if self._takes("word", "not"):
            inner = self._not(depth + 1)
            return lambda s, g: not inner(s, g)
        if self._takes("mark", "("):
            inner = self.query(depth + 1)
            if not self._takes("mark", ")"):
                raise QueryError(self._text, self._peek().at, "A bracket is not closed: `)` is missing")
            return inner
        return self._term()

    def _term(self) -> Test:
        name = self._take()
        if name.kind not in ("word", "text") or (name.kind == "word" and name.value in _WORDS):
            raise QueryError(self._text, name.at, "Here a field or a label is expected")
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise QueryError(self._text, name.at, f"More than {MAX_TERMS} terms")
        self.fields.add(name.value)
        operator = self._peek()
        if operator.kind == "op":
            self._take()
            return self._compare(name, operator.value, self._value())
        if self._takes("word", "in"):
            if not self._takes("mark", "("):
                raise QueryError(self._text, self._peek().at, "After `in` a list in brackets is expected")
            tests = [self._compare(name, "=", self._value())]
            while self._takes("mark", ","):
                tests.append(self._compare(name, "=", self._value()))
            if not self._takes("mark", ")"):
                raise QueryError(self._text, self._peek().at, "The list is not closed: `)` is missing")
            return lambda s, g: any(test(s, g) for test in tests)
        if name.value == "group":
            raise QueryError(self._text, name.at, "Say which group: `group = NAME`")
        return lambda s, _g: s.value(name.value) is not None

    def _compare(self, name: _Token, operator: str, value: _Token) -> Test:
        wanted = value.value
        if name.value == "group":
            if operator not in ("=", "!="):
                raise QueryError(self._text, value.at, "A group can only be `=` or `!=`")
            self.groups.add(wanted)
            return lambda s, g: g(wanted, s) == (operator == "=")
        if name.value == "online":
            if operator not in ("=", "!=") or wanted not in ("true", "false"):
                raise QueryError(self._text, value.at, "`online` stands alone, or is = true or = false")
            sought = (wanted == "true") == (operator == "=")
            return lambda s, _g: (s.status == "online") == sought
        if operator in ("=", "!="):
            parts = wanted.split("*")
            equal = operator == "="

            def same(subject: Subject, _g: InGroup) -> bool:
                found = subject.value(name.value)
                return (found is not None and like(found, parts)) == equal

            return same
        limit = version_key(wanted)

        def ordered(subject: Subject, _g: InGroup) -> bool:
            found = subject.value(name.value)
            return found is not None and _ORDERS[operator](version_key(found), limit)

        return ordered

    def _value(self) -> _Token:
        token = self._take()
        if token.kind not in ("word", "text"):
            raise QueryError(self._text, token.at, "Here a value is expected; put quotes around odd ones")
        return token

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token

    def _takes(self, kind: str, value: str) -> bool:
        token = self._peek()
        if token.kind == kind and token.value == value:
            self._next += 1
            return True
        return False


def like(text: str, parts: list[str]) -> bool:
    """Whether ``text`` is the parts with anything between them; in time linear in both, unlike a regex."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    at, end = len(first), len(text) - len(last)
    if end < at or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


VersionKey = tuple[tuple[int, int, str], ...]

_ORDERS: Final[dict[str, Callable[[VersionKey, VersionKey], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def version_key(text: str) -> VersionKey:
    """``0.10.1-rc2`` -> parts that compare: numbers as such, words before numbers, zeros at the end gone."""
    parts = [
        (1, int(part), "") if part.isdecimal() else (0, 0, part)
        for part in re.findall(r"[0-9]{1,18}|[^\W\d_]+", text)
    ]
    while parts and parts[-1] == (1, 0, ""):
        parts.pop()
    return (*parts, (0, 1, ""))  # the end: after a word, so that 1-rc is older than 1, and before a number
