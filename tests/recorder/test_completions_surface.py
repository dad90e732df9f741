"""Legacy completions and embeddings in the records: streams put together, vectors left alone."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.demo import DemoUpstream
from gateway.upstream import NO_HEADERS, Origin, Timeouts, UpstreamRequest
from recorder.surfaces import SURFACES, surface_of
from recorder.surfaces.chat import CHOICES_MAX
from recorder.surfaces.completions import CompletionsSurface
from recorder.surfaces.embeddings import EmbeddingsSurface
from recorder.surfaces.values import MARK
from tests.recorder.test_chat_surface import HOSTILE, stream

TEXT = CompletionsSurface()
VECTORS = EmbeddingsSurface()


async def demo(**more: Any) -> bytes:
    request = {"model": "demo/small", "prompt": ["Why?", "Who?"], "max_tokens": 9, "n": 2} | more
    origin, body = Origin("http", "demo", 80), json.dumps(request).encode()
    answer = await DemoUpstream(0).send(
        UpstreamRequest(origin, "POST", b"/v1/completions", NO_HEADERS, body, Timeouts(1, 1, 1))
    )
    return await answer.read_all(1 << 20)


async def test_a_stream_becomes_the_answer_in_one_piece() -> None:
    """The demo provider's stream, put together, is its answer without streaming."""
    whole = json.loads(await demo())
    body = await demo(stream=True, stream_options={"include_usage": True})
    for each in (body, body.replace(b"\n", b"\r\n")):
        assert json.loads(TEXT.assembled(each)) == whole
    assert TEXT.finish_reason(TEXT.assembled(body)) == "length"
    assert TEXT.assembled(json.dumps(whole).encode()) == json.dumps(whole).encode()


def test_the_table_knows_its_endpoints() -> None:
    """Each has its own."""
    assert surface_of("/v1/completions") is SURFACES["/v1/completions"]
    assert surface_of("/v1/embeddings") is SURFACES["/v1/embeddings"]


def test_logprobs_are_joined() -> None:
    """Their four lists, event by event."""
    pieces = [
        {"text": text, "index": 0, "logprobs": {"tokens": [text], "token_logprobs": [-1.0]}}
        for text in ("a", "b")
    ]
    answer = json.loads(TEXT.assembled(stream(*({"choices": [each]} for each in pieces))))
    (choice,) = answer["choices"]
    assert choice["text"] == "ab"
    assert choice["logprobs"] == {"tokens": ["a", "b"], "token_logprobs": [-1.0, -1.0]}
    assert choice["finish_reason"] is None
    assert "message" not in choice


def test_what_is_cut_is_marked() -> None:
    """Without its end, and beyond the limit of choices."""
    body = stream({"choices": [{"text": "a", "index": 0}]}, done=False)
    assert json.loads(TEXT.assembled(body))[MARK] == {"truncated": True}
    many = stream(*({"choices": [{"text": "a", "index": n}]} for n in range(CHOICES_MAX + 2)))
    assert json.loads(TEXT.assembled(many))[MARK] == {"choices_left_out": 2}


@given(chunks=st.lists(HOSTILE, max_size=5), done=st.booleans())
def test_nothing_raises_and_the_same_bytes_give_the_same(chunks: list[Any], done: bool) -> None:
    """Whatever a provider streams; and there are no tools in a text."""
    body = stream(*chunks, done=done)
    answer = TEXT.assembled(body)
    assert TEXT.assembled(body) == answer
    assert isinstance(TEXT.finish_reason(answer), str)
    assert not TEXT.tool_calls(answer)
    assert not TEXT.tool_results(body)


@given(body=st.binary(max_size=200))
def test_vectors_stay_the_bytes_that_they_are(body: bytes) -> None:
    """Nothing is read from them."""
    assert VECTORS.assembled(body) is body
    assert VECTORS.finish_reason(body) == ""
    assert not VECTORS.tool_calls(body)
    assert not VECTORS.tool_results(body)
