"""The demo models behind responses: priced like everybody else, and never above their quote."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.responses import input_tokens_pieces, responses_pieces
from gateway.dialects import RESPONSES
from pricing import DEMO_PRICES, cost_nusd, quote

PRICE = DEMO_PRICES["demo/reasoner"]
TEXTS = st.text(max_size=40)
PARTS = st.builds(lambda text: {"type": "input_text", "text": text}, TEXTS)
ITEMS = st.one_of(
    st.builds(lambda text: {"role": "user", "content": text}, TEXTS),
    st.builds(lambda parts: {"role": "user", "content": parts}, st.lists(PARTS, max_size=3)),
    st.builds(lambda text: {"type": "function_call_output", "call_id": "c", "output": text}, TEXTS),
    st.builds(lambda text: {"type": "compaction", "encrypted_content": text}, TEXTS),
)
TOOLS = st.builds(
    lambda name, kind: {"type": kind, "name": name, "parameters": {"properties": {name: {}}}},
    TEXTS,
    st.sampled_from(["function", "custom"]),
)
REQUESTS = st.fixed_dictionaries(
    {"model": st.just("demo/reasoner"), "input": TEXTS | st.lists(ITEMS, max_size=5)},
    optional={
        "instructions": TEXTS,
        "tools": st.lists(TOOLS, max_size=3),
        "max_output_tokens": st.integers(16, 200),
        "stream": st.booleans(),
        "text": st.just({"format": {"type": "json_schema", "schema": {"type": "object"}}}),
    },
)


@given(REQUESTS)
def test_no_answer_costs_more_than_its_quote(request: dict[str, Any]) -> None:
    """Whole or streamed, its usage is read back and stays below the ceiling of the request; the
    count of its input is what it is charged for."""
    call = RESPONSES.parse(msgspec.json.encode(request))
    assert not call.unseen_content
    wanted = call.output_cap or 1_000
    quoted = quote(
        PRICE,
        call.input_tokens_max,
        output_tokens_wanted=wanted,
        output_tokens_least=call.output_tokens_least,
        n=1,
        cache_write=call.cache_write,
    )
    sent = RESPONSES.with_cap(RESPONSES.encode(call, call.model), "max_output_tokens", wanted)
    asked = msgspec.json.decode(sent)
    answered = b"".join(responses_pieces(asked))
    if call.stream:
        reader = RESPONSES.stream_reader(call, "demo")
        reader.feed(answered)
        usage = reader.usage
        assert reader.complete
    else:
        usage, _ = RESPONSES.usage(answered, "demo")
    assert usage.meters is not None
    assert cost_nusd(PRICE, usage.meters) <= quoted.ceiling_nusd(wanted)
    assert usage.meters.output_tokens <= wanted
    counted = json.loads(b"".join(input_tokens_pieces(asked)))["input_tokens"]
    assert counted == usage.meters.input_tokens


def test_a_schema_without_end_is_answered() -> None:
    """A hostile schema costs a little depth, not the interpreter's."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
    text = {"format": {"type": "json_schema", "schema": schema}}
    (body,) = responses_pieces({"model": "demo/small", "input": "x", "text": text})
    assert json.loads(body)["status"] == "completed"
    tool = {"type": "function", "name": "f", "parameters": schema}
    (body,) = responses_pieces({"model": "demo/small", "input": "x", "tools": [tool]})
    assert json.loads(body)["output"][0]["type"] == "function_call"
