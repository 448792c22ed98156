"""Words as people type them: neighbours swapped, letters lost, doubled, or hit beside."""

from __future__ import annotations

import numpy as np

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHORTEST = 3  # letters; a shorter word with a slip is another word


def with_typos(text: str, rate: float, rng: np.random.Generator) -> str:
    """The text with one slip in about `rate` of its words of three letters or more; punctuation stays."""
    words = text.split(" ")
    for number, word in enumerate(words):
        if len(word) >= _SHORTEST and word.isalpha() and rng.random() < rate:
            words[number] = _slip(word, rng)
    return " ".join(words)


def _slip(word: str, rng: np.random.Generator) -> str:
    place = int(rng.integers(0, len(word) - 1))
    match int(rng.integers(0, 4)):
        case 0:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case 1:
            return word[:place] + word[place + 1 :]
        case 2:
            return word[: place + 1] + word[place:]
        case _:
            return word[:place] + _neighbour(word[place], rng) + word[place + 1 :]


def _neighbour(letter: str, rng: np.random.Generator) -> str:
    """A key beside this one on an English keyboard; the letter itself where there is none."""
    for row in _ROWS:
        position = row.find(letter.lower())
        if position >= 0:
            beside = row[max(0, position - 1) : position + 2].replace(letter.lower(), "")
            return beside[int(rng.integers(0, len(beside)))]
    return letter
