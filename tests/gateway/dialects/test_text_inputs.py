"""The bound of what is embedded or continued: never below its tokens, and any other shape is
refused with what is wrong."""

import functools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splintr import Tokenizer

from gateway.dialects.text_inputs import (
    INPUT_OVERHEAD_TOKENS,
    INPUTS_MAX,
    TextInputs,
    read_inputs,
)
from gateway.errors import InvalidRequest
from pricing import Texts, Tokenizers

WORDS = ("the", " budget", "\n", "<|endoftext|>", "漢字", "naïve", "    ", "x" * 30, "😀", "1234")
TEXT = st.lists(st.sampled_from(WORDS), max_size=40).map("".join) | st.text(
    st.characters(codec="utf-8"), max_size=80
)
TOKENS = st.lists(st.integers(0, 200_000), min_size=1, max_size=50)
TOKENIZERS = Tokenizers()


@functools.cache
def tokenizer() -> Any:
    return Tokenizer.from_pretrained("cl100k_base")


def read(value: object) -> TextInputs:
    return read_inputs({"input": msgspec.Raw(msgspec.json.encode(value))}, "input")


@given(texts=st.lists(TEXT, min_size=1, max_size=6))
def test_texts_have_no_more_tokens_than_their_bound(texts: list[str]) -> None:
    """By bytes, and counted; the count is above the truth by what an input may have around it."""
    true = sum(len(tokenizer().encode(text)) for text in texts)
    inputs = read(texts)
    counted = Texts()
    beside = inputs.tokens_max(counted)
    exact = beside + TOKENIZERS.count("cl100k_base", counted.pieces)
    assert true <= inputs.tokens_max()
    assert true <= exact
    plain = not any("<|" in text for text in texts)
    assert not plain or exact == true + INPUT_OVERHEAD_TOKENS * len(texts)


@given(batch=st.lists(TOKENS, min_size=1, max_size=6))
def test_tokens_count_as_themselves(batch: list[list[int]]) -> None:
    """One array of them, or many."""
    overhead = INPUT_OVERHEAD_TOKENS
    assert read(batch).tokens_max() == sum(map(len, batch)) + overhead * len(batch)
    assert read(batch[0]) == TextInputs([], len(batch[0]), 1)
    assert read(batch).inputs == len(batch)


def test_the_limit_is_of_inputs_not_of_tokens() -> None:
    """A long text in tokens is one input; of a batch 2,048 are taken."""
    assert read([1] * 8_191).inputs == 1
    assert read(["x"] * INPUTS_MAX).inputs == INPUTS_MAX
    with pytest.raises(InvalidRequest, match="2049 entries, 2048 is the most"):
        read(["x"] * (INPUTS_MAX + 1))


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, True, {}, [], [None], [{}], [True], [1.5], ["x", 1], ["x", [1]], [1, [1]]),
        *([[["x"]]], [["x"]], [[True]], [[None]], [{"text": "x"}], [[1.5]]),
    ],
    ids=repr,
)
def test_other_shapes_are_refused(value: object) -> None:
    """A mixture too: servers differ in what they make of one."""
    with pytest.raises(InvalidRequest):
        read(value)


def test_what_is_absent_is_refused() -> None:
    """With the name of what is missing."""
    with pytest.raises(InvalidRequest, match="input is a string"):
        read_inputs({}, "input")
