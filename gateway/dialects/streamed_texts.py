"""A bound on what was produced in a stream whose usage never came: every text counts its bytes, as
a tokenizer can at worst."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gateway.dialects.event_stream import payload_of
from pricing import text_tokens_max


def produced_tokens_max(received: bytes, produced: Callable[[Any], Any]) -> int:
    """`produced`: what of an event's value the model has written."""
    tokens = 0
    for payload, event in events_in(received):
        tokens += len(payload) if event is None else texts_tokens(produced(event))
    return tokens


def events_in(received: bytes) -> Iterator[tuple[bytes, Any]]:
    """The data of each event, and its value: None where it is no JSON. What is no event at all, as
    an answer that came in one piece, is data too."""
    for event in received.replace(b"\r\n", b"\n").split(b"\n\n"):
        payload = payload_of(event) or event.strip()
        if not payload:
            continue
        try:
            value = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
        yield payload, value


def texts_tokens(value: Any, uncounted: frozenset[str] = frozenset()) -> int:
    """Of every text in a JSON value, but in the fields that are uncounted."""
    if isinstance(value, str):
        return text_tokens_max(value)
    if isinstance(value, list):
        return sum(texts_tokens(each, uncounted) for each in value)
    if isinstance(value, dict):
        counted = (each for name, each in value.items() if name not in uncounted)
        return sum(texts_tokens(each, uncounted) for each in counted)
    return 0
