"""A mark beside the messages is priced as it is forwarded: a key that is there twice would else be
one thing here and another to the provider's parser."""

import pytest

from gateway.dialects import CHAT, MESSAGES
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
