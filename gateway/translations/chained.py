"""Two translations, one behind the other: what the first one's provider speaks is what the second
one's client does. Only for what nobody has written by itself."""

from collections.abc import Mapping

import msgspec

from gateway.dialects.contract import Call, Dialect
from gateway.errors import InvalidRequest
from gateway.translations.contract import StreamTranslation, Translation
from gateway.translations.refused import renamed


class Chained:
    """See Translation. `between` is the dialect that both know; `names` and `instead` are for what
    the second one refuses, see `renamed`."""

    def __init__(
        self,
        first: Translation,
        between: Dialect,
        second: Translation,
        names: Mapping[str, str],
        instead: str,
    ) -> None:
        assert (first.target, second.endpoint) == (between.endpoint, between.endpoint)
        self._first = first
        self._between = between
        self._second = second
        self._names = names
        self._instead = instead
        self.endpoint = first.endpoint
        self.target = second.target

    def request(self, call: Call) -> bytes:
        """See Translation."""
        body = self._first.request(call)
        try:
            asked = self._between.parse(body, {})
            return self._second.request(msgspec.structs.replace(asked, output_cap=call.output_cap))
        except InvalidRequest as error:
            raise renamed(error, self._names, self._instead) from None

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
