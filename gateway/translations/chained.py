"""Two translations, one behind the other: what the first one's provider speaks is what the second
one's client does. Only for what nobody has written by itself."""

import msgspec

from gateway.dialects.contract import Call, Dialect
from gateway.translations.contract import StreamTranslation, Translation


class Chained:
    """See Translation. `between` is the dialect that both know."""

    def __init__(self, first: Translation, between: Dialect, second: Translation) -> None:
        assert (first.target, second.endpoint) == (between.endpoint, between.endpoint)
        self._first = first
        self._between = between
        self._second = second
        self.endpoint = first.endpoint
        self.target = second.target

    def request(self, call: Call) -> bytes:
        """See Translation."""
        asked = self._between.parse(self._first.request(call), {})
        return self._second.request(msgspec.structs.replace(asked, output_cap=call.output_cap))

    def answer(self, body: bytes) -> bytes:
        """See Translation."""
        return self._first.answer(self._second.answer(body))

    def error_message(self, body: bytes) -> str:
        """See Translation."""
        return self._second.error_message(body)

    def stream(self, call: Call) -> "ChainedStream":
        """See Translation. The first one gets the usage, whether the client asked for it or not."""
        asking = msgspec.structs.replace(call, wants_usage=True)
        return ChainedStream(self._first.stream(call), self._second.stream(asking))


class ChainedStream:
    """See StreamTranslation."""

    def __init__(self, first: StreamTranslation, second: StreamTranslation) -> None:
        self._first = first
        self._second = second

    def feed(self, events: bytes) -> bytes:
        """See StreamTranslation."""
        return self._first.feed(self._second.feed(events))

    def finish(self, events: bytes, *, complete: bool) -> bytes:
        """See StreamTranslation."""
        return self._first.finish(self._second.finish(events, complete=complete), complete=complete)
