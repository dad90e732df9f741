"""Embeddings alone: what is forwarded is what was priced, and nothing is made that could cost."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.embeddings import INPUT_TYPE_TOKENS, KNOWN_FIELDS, EmbeddingsDialect
from gateway.errors import InvalidRequest, NotPriced
from pricing import Texts
from tests.gateway.provider_text import EMBEDDING_USAGE, embedding_body

DIALECT = EmbeddingsDialect()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "input": "hello", **fields}).encode()


def test_nothing_is_produced_and_no_cap_is_written() -> None:
    """The request goes as it came, but for the model's name."""
    asked = body(input=["a", "b"], encoding_format="base64", dimensions=8, user="u")
    call = DIALECT.parse(asked)
    assert (call.output_cap, call.n, call.stream, call.input_windows) == (0, 1, False, 0)
    encoded = DIALECT.encode(call, "upstream")
    assert DIALECT.with_cap(encoded, "", 0) == encoded
    assert json.loads(encoded) == json.loads(asked) | {"model": "upstream"}


@given(fields=st.dictionaries(st.sampled_from(sorted(KNOWN_FIELDS)), JSON, max_size=4))
def test_any_value_is_forwarded_as_it_was_or_refused_clearly(fields: dict[str, Any]) -> None:
    """Never another error, and never something else than what was read."""
    asked = body(**fields)
    try:
        call = DIALECT.parse(asked)
    except (InvalidRequest, NotPriced):
        return
    assert json.loads(DIALECT.encode(call, "m")) == json.loads(asked) | {"model": "m"}
    assert call.input_tokens_max > 0


def test_what_may_bring_more_input_is_refused() -> None:
    """Chat messages, pictures, a field of tomorrow: no window bounds them. A null brings nothing;
    nor does a name of a megabyte make a long error."""
    for name in ("messages", "images", "stream", "tomorrow"):
        with pytest.raises(NotPriced, match=f"^{name} may bring input"):
            DIALECT.parse(body(**{name: []}))
        assert DIALECT.parse(body(**{name: None})).input_tokens_max == 5 + 4
    with pytest.raises(InvalidRequest, match="api_base is the gateway's"):
        DIALECT.parse(body(api_base="http://other"))
    with pytest.raises(NotPriced) as refused:
        DIALECT.parse(body(**{"x" * 10**6: 1}))
    assert len(refused.value.message) < 1_000


def test_what_an_input_is_for_costs_a_line_of_each() -> None:
    """`input_type` puts words before it; counted too."""
    call = DIALECT.parse(body(input=["a", "b"], input_type="query"))
    assert call.input_tokens_max == 2 * (1 + 4 + INPUT_TYPE_TOKENS)
    texts = Texts()
    assert DIALECT.input_tokens_max(call, texts) == 2 * (4 + INPUT_TYPE_TOKENS)
    assert texts.pieces == ["a", "b"]
    long = DIALECT.parse(body(input=["a", "b"], input_type="x" * 5_000))
    assert long.input_tokens_max == 2 * (1 + 4 + 5_000)
    for odd in (5, {"x": "y" * 5_000}, ["query"]):
        with pytest.raises(InvalidRequest, match="input_type is a text"):
            DIALECT.parse(body(input_type=odd))


def test_answers_that_are_not_json_are_not_asked_for() -> None:
    """vLLM knows `bytes`: no usage could be read of it."""
    with pytest.raises(InvalidRequest, match="encoding_format is float or base64"):
        DIALECT.parse(body(encoding_format="bytes"))


def test_usage_is_read_and_the_cost_put_into_it() -> None:
    """All else of the answer stays byte for byte."""
    answer = embedding_body({"input": ["a", "b"]})
    usage, raw = DIALECT.usage(answer, "")
    assert usage.meters is not None
    assert (usage.meters.input_tokens, usage.meters.output_tokens) == (11, 0)
    assert usage.model_served == "served-embedder"
    assert raw == EMBEDDING_USAGE
    priced = DIALECT.told(answer, raw, "0.5")
    assert priced == answer.replace(b"11 }", b'11 ,"cost":0.5}')


@pytest.mark.parametrize(
    ("answer", "is_error"),
    [
        (b"", False),
        (b"[]", False),
        (b'{"data": []}', False),
        (b'{"error": {"message": "no"}}', True),
        (b'{"error": null}', False),
        (b'{"data": [], "usage": {"prompt_tokens": -1}}', False),
        (b'{"data": [], "usage": {}}', False),
        (b'{"data": [], "usage": [1]}', False),
        (b'{"data": [], "usage": {"prompt_tokens": "1"}}', False),
        (b'{"data": "\xff", "usage": {"prompt_tokens": 1e999}}', False),
    ],
    ids=repr,
)
def test_what_says_no_usage_has_none(answer: bytes, is_error: bool) -> None:
    """The whole reservation is booked then, but for an error."""
    usage, _ = DIALECT.usage(answer, "")
    assert usage.meters is None
    assert usage.is_error == is_error


def test_the_body_s_shape_is_checked_like_any_other() -> None:
    """A key twice is an error, whatever is in it."""
    with pytest.raises(InvalidRequest, match="there twice"):
        DIALECT.parse(b'{"model":"m","input":"a","input":["b"]}')
    assert msgspec.json.decode(DIALECT.encode(DIALECT.parse(body()), "n"))["model"] == "n"
