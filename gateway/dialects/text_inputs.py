"""What is embedded or continued: a text, tokens, or a batch of either.

The four shapes are those of OpenAI's API reference, `input` of "Create embeddings" and `prompt` of
"Create completion (legacy)": a string, an array of strings, an array of tokens, an array of arrays
of tokens. Anything else in them is refused: a server that reads pictures would find them there.
"""

from typing import NamedTuple

import msgspec

from gateway.errors import InvalidRequest
from pricing import ByteMeasure, Measure

INPUTS_MAX = 2_048
"""Inputs in one request: the API reference's limit of an array in "Create embeddings"."""

INPUT_OVERHEAD_TOKENS = 4
"""Per input: marks at its begin and its end (BERT's [CLS] and [SEP]), and the space that
SentencePiece puts before a text. OpenAI's models have none."""

_SHAPES = "a string, a list of strings, a list of tokens, or a list of lists of tokens"
_decoder = msgspec.json.Decoder(str | list[str | int | list[int]])


class TextInputs(NamedTuple):
    """The inputs of a request: so many `inputs`, their `texts`, and so many `token_ids` in all."""

    texts: list[str]
    token_ids: int
    inputs: int

    def tokens_max(self, measure: type[ByteMeasure] | Measure = ByteMeasure) -> int:
        """The most tokens that all of them are together, what a tokenizer adds included."""
        texts = sum(map(measure.text, self.texts))
        return texts + self.token_ids + INPUT_OVERHEAD_TOKENS * self.inputs


def read_inputs(fields: dict[str, msgspec.Raw], name: str) -> TextInputs:
    """The inputs in a field. It stays as the client wrote it: there is no object in it whose keys
    two parsers could read in two ways. Raises InvalidRequest."""
    try:
        value = _decoder.decode(fields[name])
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(f"{name} is {_SHAPES}", param=name) from None
    if isinstance(value, str):
        return TextInputs([value], 0, 1)
    if not value:
        raise InvalidRequest(f"{name} is empty: give at least one", param=name)
    kinds = set(map(type, value))
    if kinds == {int}:
        return TextInputs([], len(value), 1)
    if len(value) > INPUTS_MAX:
        raise InvalidRequest(
            f"{name} has {len(value)} entries, {INPUTS_MAX} is the most: send several requests",
            param=name,
        )
    if kinds == {str}:
        return TextInputs([each for each in value if isinstance(each, str)], 0, len(value))
    if kinds == {list}:
        ids = sum(len(each) for each in value if isinstance(each, list))
        return TextInputs([], ids, len(value))
    raise InvalidRequest(f"{name} is {_SHAPES}: not several of them at once", param=name)
