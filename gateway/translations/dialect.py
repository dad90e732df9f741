"""A provider's dialect behind a client's: to the path of a request, a dialect like any other."""

from collections.abc import Callable, Mapping

import msgspec

from gateway.dialects.contract import Call, Dialect, StreamReader, Usage
from gateway.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.translations.contract import StreamTranslation, Translation
from gateway.translations.sse import Events
from gateway.upstream import UpstreamUnknown
from pricing import Measure


class TranslatedDialect:
    """See Dialect. What is priced, sent, recorded and metered is the provider's (`wire`); what the
    client reads is the client's (`surface`). `endpoint` is the provider's: payloads have its
    format.

    What is text on one side may be JSON on the other (a tool's arguments): what could just be read
    may be too deep to be written.
    """

    def __init__(self, surface: Dialect, wire: Dialect, translation: Translation) -> None:
        self._surface = surface
        self._wire = wire
        self._translation = translation
        self.endpoint = wire.endpoint

    def translated(self, call: Call) -> Call:
        """The client's call as the provider gets it, with its bound and everything. Raises
        InvalidRequest, NotPriced."""
        try:
            sent = self._wire.parse(self._translation.request(call), {})
        except RecursionError:
            raise InvalidRequest(
                "the request is nested too deeply to be translated for this model's provider: make "
                f"the arguments of its tools flatter, or use {self.endpoint}"
            ) from None
        return msgspec.structs.replace(
            sent, output_cap=call.output_cap, wants_usage=call.wants_usage
        )

    def parse(self, body: bytes, headers: Mapping[bytes, bytes]) -> Call:
        """See Dialect: of the client's body, as the provider gets it."""
        return self.translated(self._surface.parse(body, headers))

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """See Dialect."""
        return self._wire.input_tokens_max(call, measure)

    def encode(self, call: Call, model: str) -> bytes:
        """See Dialect."""
        return self._wire.encode(call, model)

    def with_cap(self, encoded: bytes, cap_field: str, output_tokens: int) -> bytes:
        """See Dialect."""
        return self._wire.with_cap(encoded, cap_field, output_tokens)

    def usage(self, body: bytes, biller: str) -> tuple[Usage, bytes]:
        """See Dialect."""
        return self._wire.usage(body, biller)

    def told(self, body: bytes, raw_usage: bytes, cost_usd: str | None) -> bytes:
        """See Dialect. Raises UpstreamFailed."""
        body = self._wire.told(body, raw_usage, cost_usd)
        try:
            return self._translation.answer(body)
        except RecursionError:
            raise UpstreamFailed(
                "the provider's answer is nested too deeply to be translated: ask again, or use "
                f"{self.endpoint}"
            ) from None

    def stream_reader(self, call: Call, biller: str) -> "TranslatedReader":
        """See Dialect. The translation gets the usage, whether the client asked for it or not."""
        stream = self._translation.stream(call)
        reader = self._wire.stream_reader(msgspec.structs.replace(call, wants_usage=True), biller)
        return TranslatedReader(reader, stream, self._error_told)

    def streamed_tokens_max(self, received: bytes) -> int:
        """See Dialect."""
        return self._wire.streamed_tokens_max(received)

    def provider_error(self, status: int, body: bytes) -> bytes:
        """See Dialect: its words in the client's shape."""
        return self._surface.error_body(self._failure(body, status))

    def _failure(self, body: bytes, status: int = 502) -> UpstreamFailed:
        words = self._translation.error_message(body)
        told = f"the provider refused the request: {words}" if words else "the provider failed"
        return UpstreamFailed(told, status)

    def _error_told(self, events: bytes) -> bytes:
        """The provider's error inside a stream, in the client's shape."""
        said = Events().feed(events)
        body = msgspec.json.encode(said[0]) if said else b""
        return self._surface.error_event(self._failure(body))

    def error_body(self, error: GatewayError) -> bytes:
        """See Dialect."""
        return self._surface.error_body(error)

    def error_event(self, error: GatewayError) -> bytes:
        """See Dialect."""
        return self._surface.error_event(error)


class TranslatedReader:
    """See StreamReader. `error_told`: from a provider's stream that is its error to a client's."""

    def __init__(
        self,
        reader: StreamReader,
        translation: StreamTranslation,
        error_told: Callable[[bytes], bytes],
    ) -> None:
        self._reader = reader
        self._translation = translation
        self._error_told = error_told
        self._told = False

    @property
    def usage(self) -> Usage:
        """See StreamReader."""
        return self._reader.usage

    @property
    def complete(self) -> bool:
        """See StreamReader."""
        return self._reader.complete

    @property
    def usage_is_final(self) -> bool:
        """See StreamReader."""
        return self._reader.usage_is_final

    def feed(self, chunk: bytes) -> bytes:
        """See StreamReader. Raises UpstreamUnknown for an answer beyond all bounds."""
        passed = self._reader.feed(chunk)
        try:
            return self._error(passed) if self.usage.is_error else self._translation.feed(passed)
        except RecursionError:
            raise UpstreamUnknown("the answer is nested too deeply", bytes_received=True) from None

    def _error(self, events: bytes) -> bytes:
        """Once."""
        if self._told or not events:
            return b""
        self._told = True
        return self._error_told(events)

    def end(self) -> None:
        """See StreamReader."""
        self._reader.end()

    def finish(self, cost_usd: str | None) -> bytes:
        """See StreamReader. Raises UpstreamUnknown for an answer beyond all bounds."""
        last = self._reader.finish(cost_usd)
        try:
            if self.usage.is_error:
                return self._error(last)
            return self._translation.finish(last, complete=self.complete)
        except RecursionError:
            raise UpstreamUnknown("the answer is nested too deeply", bytes_received=True) from None
