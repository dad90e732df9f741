"""A mark beside the messages is priced as it is forwarded: a key that is there twice would else be
one thing here and another to the provider's parser."""

from typing import Any

import msgspec
import pytest

from gateway.dialects import CHAT, MESSAGES, RESPONSES
from gateway.dialects.contract import Dialect

TWICE = b'"cache_control":{"type":"ephemeral","ttl":"1h","ttl":"5m"}'
ESCAPED = b'"cache_control":{"type":"ephemeral","ttl":"1\\u0068"}'
REQUEST = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],%b}'


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
def test_a_mark_beside_the_messages_is_forwarded_as_it_was_priced(dialect: Dialect) -> None:
    """With the lifetime that is in the quote, and with no other."""
    call = dialect.parse(REQUEST % TWICE, {})
    assert call.cache_write == "5m"
    assert b"1h" not in dialect.encode(call, "m")
    call = dialect.parse(REQUEST % ESCAPED, {})
    assert call.cache_write == "1h"
    assert b'"ttl":"1h"' in dialect.encode(call, "m")


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
def test_what_a_field_of_tomorrow_may_ask_for_is_the_dearest(dialect: Dialect) -> None:
    """It may write to the cache, for as long as there is a price for."""
    assert dialect.parse(REQUEST % b'"a_field_of_tomorrow":1', {}).cache_write == "1h"


def test_what_a_beta_of_tomorrow_may_ask_for_is_the_dearest() -> None:
    """Alike."""
    beta = {b"anthropic-beta": b"a-beta-of-tomorrow"}
    assert MESSAGES.parse(REQUEST % b'"stream":false', beta).cache_write == "1h"


PARTS: list[tuple[Dialect, dict[str, Any], str]] = [
    (CHAT, {"type": "text", "text": "x", "cachePoint": {"ttl": "1h"}}, "1h"),
    (CHAT, {"type": "a_part_of_tomorrow"}, "1h"),
    (CHAT, {"type": "file", "file": {"file_id": "f"}}, "none"),
    (MESSAGES, {"type": "text", "text": "x", "cachePoint": {"ttl": "1h"}}, "1h"),
    (MESSAGES, {"type": "a_block_of_tomorrow"}, "1h"),
    (MESSAGES, {"type": "document", "source": {"type": "url", "url": "https://x"}}, "none"),
    (MESSAGES, {"type": "document", "source": {"type": "a_source_of_tomorrow"}}, "1h"),
    (RESPONSES, {"type": "item_reference", "id": "i"}, "1h"),
    (RESPONSES, {"type": "reasoning", "id": "i"}, "1h"),
    (RESPONSES, {"type": "an_item_of_tomorrow", "id": "i"}, "1h"),
    (RESPONSES, {"role": "user", "content": "x", "cache": {"ttl": "12h"}}, "1h"),
    (RESPONSES, {"type": "web_search_call", "id": "i", "status": "completed"}, "none"),
    (RESPONSES, {"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "none"),
    (RESPONSES, {"role": "user", "content": [{"type": "a_part_of_tomorrow"}]}, "1h"),
]


@pytest.mark.parametrize(("dialect", "part", "cache_write"), PARTS)
def test_what_is_held_or_not_known_inside_may_ask_for_it_too(
    dialect: Dialect, part: dict[str, Any], cache_write: str
) -> None:
    """As a field beside the messages; what is known and has no size here asks for nothing."""
    said: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
    if dialect is RESPONSES:
        said = {"max_output_tokens": 16, "input": [part]}
    call = dialect.parse(msgspec.json.encode({"model": "m", **said}), {})
    assert call.unseen_content
    assert call.cache_write == cache_write
