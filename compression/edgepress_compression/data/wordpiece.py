"""BERT's tokens: basic tokens, then greedy longest-first word pieces (Devlin et al. 2019; Wu et al. 2016,
section 4.1)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgepress_compression.errors import DatasetError

MAX_VOCABULARY_BYTES = 64 << 20
MAX_WORD_CHARACTERS = 100  # longer words are [UNK], as in BERT


class WordPiece:
    """Text -> token numbers. The vocabulary has one piece a line; the line number is the token number."""

    def __init__(self, vocabulary: dict[str, int], *, lowercase: bool = True) -> None:
        missing = [piece for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if piece not in vocabulary]
        if missing:
            raise DatasetError(f"The vocabulary lacks {', '.join(missing)}; use a BERT WordPiece vocabulary.")
        self.vocabulary, self.lowercase = vocabulary, lowercase
        self.pad, self.unknown = vocabulary["[PAD]"], vocabulary["[UNK]"]
        self.first, self.last = vocabulary["[CLS]"], vocabulary["[SEP]"]

    @classmethod
    def from_file(cls, path: Path, *, lowercase: bool = True) -> WordPiece:
        try:
            if path.stat().st_size > MAX_VOCABULARY_BYTES:
                raise DatasetError(f"{path.name} is larger than {MAX_VOCABULARY_BYTES:,} bytes.")
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"The vocabulary {path} cannot be read ({error}); check the path.") from error
        if lines and lines[-1] == "":
            lines.pop()
        return cls({line.rstrip("\r"): number for number, line in enumerate(lines)}, lowercase=lowercase)

    def encode(self, text: str, max_length: int) -> list[int]:
        """[CLS] pieces [SEP], cut to `max_length` tokens; not padded."""
        tokens = [self.first]
        for word in _basic_tokens(text, self.lowercase):
            tokens.extend(self._pieces(word))
            if len(tokens) >= max_length:
                break
        return [*tokens[: max_length - 1], self.last]

    def encode_batch(self, texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids, mask), both int64 (N, max_length)."""
        ids = np.full((len(texts), max_length), self.pad, dtype=np.int64)
        mask = np.zeros((len(texts), max_length), dtype=np.int64)
        for row, text in enumerate(texts):
            tokens = self.encode(text, max_length)
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return ids, mask

    def _pieces(self, word: str) -> list[int]:
        if len(word) > MAX_WORD_CHARACTERS:
            return [self.unknown]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else "##" + word[start:end]
                if piece in self.vocabulary:
                    pieces.append(self.vocabulary[piece])
                    start = end
                    break
            else:
                return [self.unknown]
        return pieces


def _basic_tokens(text: str, lowercase: bool) -> Iterator[str]:
    spaced = []
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character) == "Zs":
            spaced.append(" ")
        elif character in "\0\ufffd" or unicodedata.category(character).startswith("C"):
            continue
        else:
            spaced.append(f" {character} " if _is_cjk(ord(character)) else character)
    for spelled in "".join(spaced).split():
        word = _without_accents(spelled.lower()) if lowercase else spelled
        current = ""
        for character in word:
            if _is_punctuation(character):
                if current:
                    yield current
                yield character
                current = ""
            else:
                current += character
        if current:
            yield current


def _without_accents(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    # All ASCII that is no letter, digit or space counts, such as $ and ^, which Unicode calls symbols.
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_sign or unicodedata.category(character).startswith("P")


def _is_cjk(code: int) -> bool:
    blocks = (
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0x20000, 0x2CEAF),
        (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    )
    return any(low <= code <= high for low, high in blocks)
