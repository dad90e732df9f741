"""Legacy completions alone: every answer that is made is in the quote, what is forwarded is what
was priced, and streams are read as those of chat."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo import DemoUpstream
from gateway.dialects.completions import (
    KNOWN_FIELDS,
    OUTPUT_TOKENS_UNSAID,
    PLAIN_FIELDS,
    SUFFIX_MARK_TOKENS,
    CompletionsDialect,
)
from gateway.dialects.contract import Call
from gateway.errors import InvalidRequest, NotPriced
from gateway.options import GatewayOptions
from gateway.quoting import Quoting
from gateway.upstream import Origin
from pricing import Meters, cost_nusd
from tests.gateway.behaviours import DONE, usage_text
from tests.gateway.dialects.test_embeddings import JSON
from tests.gateway.dialects.test_text_inputs import TEXT, tokenizer
from tests.gateway.provider_text import (
    TEXTS,
    completion_body,
    text_event,
    text_routes,
    text_usage_event,
)

DIALECT = CompletionsDialect()
NOBODY = Origin("http", "127.0.0.1", 1)
USAGE = usage_text(11, 7).replace(b"\n", b"")


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "prompt": "hello", **fields}).encode()


def parsed(**fields: object) -> Call:
    return DIALECT.parse(body(**fields))


def sent(call: Call, granted: int) -> dict[str, Any]:
    encoded = DIALECT.encode(call, "m")
    document = json.loads(DIALECT.with_cap(encoded, "max_tokens", granted))
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    ("fields", "made"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"best_of": 4}, 4),
        ({"n": 2, "best_of": 5}, 5),
        ({"n": 5, "best_of": 2}, 5),
        ({"prompt": ["a", "b"], "n": 2, "best_of": 3}, 6),
        ({"prompt": [[1, 2], [3]], "n": 2}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": None}, 1),
    ],
)
def test_all_that_is_made_is_counted(fields: dict[str, object], made: int) -> None:
    """Of each prompt as many as are made, whatever is returned; each prompt has its own window."""
    call = parsed(**fields)
    assert call.n == made
    prompts = fields.get("prompt")
    batch = isinstance(prompts, list) and not isinstance(prompts[0], int)
    assert call.input_windows == (2 if batch else 1)


def test_the_suffix_is_read_after_each_prompt() -> None:
    """Its bytes, so many times."""
    plain, ended = parsed(prompt=["a", "b", "c"]), parsed(prompt=["a", "b", "c"], suffix="end")
    assert ended.input_tokens_max - plain.input_tokens_max == 3 * (3 + SUFFIX_MARK_TOKENS)
    with pytest.raises(InvalidRequest, match="suffix is a string"):
        parsed(suffix=["end"])


def test_the_cap_is_what_the_interface_says_where_nobody_does() -> None:
    """16 tokens, as at the provider; what is null is open; a cap is written once."""
    assert parsed().output_cap == OUTPUT_TOKENS_UNSAID == 16
    assert parsed(max_tokens=None).output_cap is None
    assert sent(parsed(), 16)["max_tokens"] == 16
    assert sent(parsed(max_tokens=500), 200)["max_tokens"] == 200
    assert (
        DIALECT.with_cap(DIALECT.encode(parsed(max_tokens=9), "m"), "max_tokens", 7).count(
            b"max_tokens"
        )
        == 1
    )


def test_who_wants_nothing_made_gets_that() -> None:
    """The logprobs of a prompt: 0 is forwarded, and one token is reserved for servers that make
    one."""
    call = parsed(max_tokens=0, echo=True, logprobs=1, logit_bias={"max_tokens": 0})
    assert call.output_cap == 1
    assert sent(call, 1)["max_tokens"] == 0


def test_an_echo_may_stream_more_events_than_what_is_made() -> None:
    """It is no output beyond the grant."""
    assert parsed(echo=True).events_beside == 0
    call = parsed(prompt=["hello", "there"], n=2, echo=True, stream=True)
    assert call.events_beside == 4 * call.input_tokens_max


@given(
    fields=st.dictionaries(
        st.sampled_from(sorted(PLAIN_FIELDS | KNOWN_FIELDS | {"tomorrow"})), JSON, max_size=4
    )
)
def test_any_value_is_forwarded_as_it_was_or_refused_clearly(fields: dict[str, Any]) -> None:
    """Never another error; all but the cap and the request for usage is what was read."""
    asked = body(**fields)
    try:
        call = DIALECT.parse(asked)
        document = sent(call, 5)
    except (InvalidRequest, NotPriced):
        return
    expected = json.loads(asked) | {"model": "m"}
    for written in ("max_tokens", "stream_options"):
        document.pop(written, None)
        expected.pop(written, None)
    assert document == expected


def test_a_field_of_tomorrow_is_all_windows() -> None:
    """What may add to a prompt may fill each."""
    assert not parsed(top_k=1).unseen_content
    assert parsed(tomorrow=1).unseen_content
    for name in ("prompt_embeds", "use_beam_search", "service_tier", "prompt_logprobs"):
        with pytest.raises(NotPriced, match=name):
            parsed(**{name: "x"})
    with pytest.raises(InvalidRequest, match="api_base is the gateway's"):
        parsed(api_base="http://other")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_stream_cut_at_every_byte_reads_the_same(line_end: bytes, wants_usage: bool) -> None:
    """The same bytes come out, with the usage where it was asked for, and the same is read."""
    words = b"".join(map(text_event, TEXTS)) + text_event("", "stop")
    usage = text_usage_event(USAGE)
    stream, expected = (
        each.replace(b"\n", line_end)
        for each in (words + usage + DONE, words + (usage if wants_usage else b"") + DONE)
    )
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    call = parsed(stream=True, **options)
    for size in (1, 2, 3, 7, 64, len(stream)):
        reader = DIALECT.stream_reader(call, "")
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        passed = b"".join(reader.feed(piece) for piece in pieces)
        reader.end()
        assert passed + reader.finish(None) == expected
        assert reader.complete
        assert reader.usage_is_final
        assert reader.usage.meters is not None
        assert reader.usage.meters.total_tokens == 18


def test_what_was_streamed_is_bounded_by_its_bytes() -> None:
    """The text of every choice counts, as a tokenizer can at worst."""
    received = text_event("four") + text_event("more", index=1)
    assert DIALECT.streamed_tokens_max(received) == 8


def test_a_whole_answer_says_its_usage_and_end() -> None:
    """As those of chat."""
    usage, raw = DIALECT.usage(completion_body(usage_text(11, 7)), "")
    assert usage.meters is not None
    assert usage.meters.total_tokens == 18
    assert (usage.finish_reason, usage.model_served) == ("stop", "served-model")
    assert raw == usage_text(11, 7)


@given(
    prompts=st.lists(TEXT, min_size=1, max_size=4),
    suffix=st.none() | TEXT,
    n=st.integers(1, 5),
    best_of=st.integers(1, 5),
    cap=st.integers(0, 100),
)
def test_no_bill_is_above_the_quote(
    prompts: list[str], suffix: str | None, n: int, best_of: int, cap: int
) -> None:
    """A provider that reads each prompt and its suffix, and makes all that it may, bills no more
    than was reserved; nor does one that makes one token where none is wanted."""
    call = parsed(prompt=prompts, suffix=suffix, n=n, best_of=best_of, max_tokens=cap)
    (route,) = [each for each in text_routes(NOBODY, DemoUpstream()) if each.name == "complete"]
    quoted = Quoting.by_bytes(call, route, GatewayOptions()).quote_of(call.output_cap or 0)
    read = sum(len(tokenizer().encode(each + (suffix or ""))) for each in prompts)
    made = max(cap, 1) * max(n, best_of) * len(prompts)
    billed = cost_nusd(route.price, Meters(text_input=read, text_output=made))
    assert billed <= quoted.ceiling_nusd(quoted.output_tokens_max)
