"""The trellis: what symbols stand for, natively and by the reference; nothing is lost on the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.trellis import NEXT, STATES, tangle, untangle, untangle_reference


@st.composite
def _tensors(draw: st.DrawFn) -> tuple[np.ndarray, int, int, tuple[int, ...], int]:
    """(symbols flat, alphabet, lowest, shape, axis)"""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=0, max_size=4)))
    axis = draw(st.integers(0, max(0, len(shape) - 1)))
    alphabet = draw(st.integers(1, 4096))
    lowest = draw(st.integers(-4096, 4096))
    seed = draw(st.integers(0, 2**32 - 1))
    dtype = np.uint8 if alphabet <= 256 else np.uint16
    symbols = np.random.default_rng(seed).integers(0, alphabet, math.prod(shape)).astype(dtype)
    return symbols, alphabet, lowest, shape, axis


@given(_tensors())
@settings(max_examples=150, deadline=None)
def test_whole_numbers_come_back_as_the_symbols_that_made_them(
    tensor: tuple[np.ndarray, int, int, tuple[int, ...], int],
) -> None:
    symbols, _, lowest, shape, axis = tensor
    out = np.empty(symbols.size, np.int32)
    untangle(symbols, lowest, shape, axis, out)
    assert np.array_equal(tangle(out.reshape(shape), axis).reshape(-1), symbols.astype(np.int32) + lowest)


@pytest.mark.skipif(not native.available(), reason="the compiled codec is not built here")
@given(_tensors())
@settings(max_examples=150, deadline=None)
def test_the_compiled_loop_gives_the_numbers_of_the_reference(
    tensor: tuple[np.ndarray, int, int, tuple[int, ...], int],
) -> None:
    symbols, _, lowest, shape, axis = tensor
    ours, theirs = np.empty(symbols.size, np.int32), np.empty(symbols.size, np.int32)
    untangle(symbols, lowest, shape, axis, ours)
    sides = (math.prod(shape[:axis]), shape[axis] if shape else 1, math.prod(shape[axis + 1 :]))
    untangle_reference(symbols, lowest, sides, theirs)
    assert np.array_equal(ours, theirs)


def test_the_first_symbols_of_a_row_by_hand() -> None:
    """Grid 0 until a parity of 1 has come down to the state's lowest bit."""
    symbols = np.array([1, 1, 1, 1], np.uint8)
    out = np.empty(4, np.int32)
    untangle(symbols, 0, (1, 4), 0, out)
    # states (s2 s1 s0) 000, 010, 011, 110
    assert out.tolist() == [2, 2, 1, 2]


def test_every_state_is_reached_from_two_and_leads_to_two() -> None:
    assert sorted(NEXT.reshape(-1).tolist()) == sorted([*range(STATES)] * 2)
    assert all(NEXT[state, 0] != NEXT[state, 1] for state in range(STATES))


def test_numbers_that_no_symbols_stand_for_are_refused() -> None:
    with pytest.raises(ValueError, match="do not follow the trellis"):
        tangle(np.array([[1]], np.int32), 0)


@pytest.mark.skipif(not native.available(), reason="the compiled codec is not built here")
def test_a_lowest_number_beyond_all_that_is_possible_is_refused() -> None:
    with pytest.raises(CodecError, match="outside"):
        untangle(np.zeros(4, np.uint8), 1 << 25, (4,), 0, np.empty(4, np.int32))
