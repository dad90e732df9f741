"""However deeply a client or a provider nests, a translation ends in a clear error and never in
the parser's: arguments of tools are text on one side and JSON on the other, so that what could just
be read may be too deep to be written."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from gateway.dialects import DIALECTS
from gateway.errors import GatewayError
from gateway.translations import TRANSLATIONS, TranslatedDialect
from gateway.upstream import UpstreamUnknown
from tests.gateway.translations.samples import parsed

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HELLO = {"role": "user", "content": "Hello"}
FRAMES_MAX = 150
"""Of the test's runner and of what it calls: the parser has what is left of Python's stack."""


def dialect(pair: tuple[str, str]) -> TranslatedDialect:
    """Of what the client speaks and what the provider does."""
    return TranslatedDialect(DIALECTS[pair[0]], DIALECTS[pair[1]], TRANSLATIONS[pair])


def nested(depth: int) -> str:
    """A JSON object in which the lists go so deep."""
    return f'{{"a":{depth * "["}0{depth * "]"}}}'


def depths() -> Iterator[int]:
    """All at which Python's stack may end, and some where it does not."""
    limit = sys.getrecursionlimit()
    return iter(range(limit - FRAMES_MAX, limit + 10))


def outcomes(ask: Callable[[int], object]) -> list[str]:
    """Of all depths: nothing, or what it says. Any other error is the test's."""
    found = []
    for depth in depths():
        try:
            ask(depth)
        except (GatewayError, UpstreamUnknown) as error:
            found.append(str(error))
        else:
            found.append("")
    return found


def chat_asked(depth: int) -> dict[str, Any]:
    """With a call of a tool in the history."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": nested(depth)}}
    turns = [HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"model": "m", "messages": turns}


def messages_asked(depth: int) -> bytes:
    """The same; the arguments are JSON, which what writes it for the test could not write."""
    return (
        b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"},{"role":"assistant"'
        b',"content":[{"type":"tool_use","id":"t","name":"f","input":%b}]}]}'
    ) % nested(depth).encode()


def responses_asked(depth: int) -> dict[str, Any]:
    """The same."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": nested(depth)}
    return {"model": "m", "store": False, "input": [HELLO, call]}


def asked(client: str, depth: int) -> bytes:
    """A request of this client's."""
    if client == MESSAGES:
        return messages_asked(depth)
    return msgspec.json.encode({CHAT: chat_asked, RESPONSES: responses_asked}[client](depth))


@pytest.mark.parametrize("pair", sorted(TRANSLATIONS))
def test_no_request_is_too_deep_for_a_clear_answer(pair: tuple[str, str]) -> None:
    """It is sent, or the client reads what to change."""

    def ask(depth: int) -> None:
        translated = dialect(pair)
        sent = translated.parse(asked(pair[0], depth), {})
        translated.encode(sent, "model")

    found = outcomes(ask)
    assert found[0] == ""
    assert (found[-1] == "") == (pair == (RESPONSES, CHAT))  # there it is text on both sides
    if pair[1] == MESSAGES:
        assert any("nested too deeply" in each and "flatter" in each for each in found)


@pytest.mark.parametrize("pair", sorted(TRANSLATIONS))
def test_no_answer_is_too_deep_for_a_clear_answer(pair: tuple[str, str]) -> None:
    """It is paid: what cannot be told is said so."""

    def ask(depth: int) -> None:
        function = {"name": "f", "arguments": nested(depth)}
        said = {"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}
        body = msgspec.json.encode({"choices": [{"index": 0, "message": said}]})
        if pair[1] == MESSAGES:
            block = b'{"type":"tool_use","id":"t","name":"f","input":%b}' % nested(depth).encode()
            body = b'{"type":"message","content":[%b]}' % block
        dialect(pair).told(body, b"", None)

    found = outcomes(ask)
    assert found[0] == ""
    if pair == (MESSAGES, CHAT):
        assert any("nested too deeply" in each and CHAT in each for each in found)


def read(pair: tuple[str, str], stream: bytes) -> bytes:
    """What the client reads of a provider's stream."""
    reader = dialect(pair).stream_reader(parsed({"model": "m", "stream": True}), "")
    passed = reader.feed(stream)
    reader.end()
    return passed + reader.finish(None)


@pytest.mark.parametrize("client", [CHAT, RESPONSES])
def test_no_stream_is_too_deep_for_its_reader(client: str) -> None:
    """A text that is no text but something deep: at the worst an answer that broke off."""
    delta = b'{"type":"content_block_delta","delta":{"type":"text_delta","text":%b}}'
    stream = b'data: {"type":"content_block_start"}\n\ndata: %b\n\n' % delta
    found = outcomes(lambda depth: read((client, MESSAGES), stream % nested(depth).encode()))
    assert found[0] == ""
    assert any("nested too deeply" in each for each in found)


@pytest.mark.parametrize("pair", sorted(TRANSLATIONS))
def test_no_error_is_too_deep_to_be_told(pair: tuple[str, str]) -> None:
    """Whole or in a stream: its words are left out."""
    for depth in depths():
        error = b'{"type":"error","error":{"message":%b}}' % nested(depth).encode()
        assert b'"error":' in dialect(pair).provider_error(500, error)
        read(pair, b"data: %b\n\n" % error)
