"""What the path of a request needs to know of a wire format."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import msgspec

from gateway.errors import GatewayError
from gateway.upstream import NO_HEADERS, HeaderBlock
from pricing import STANDARD, CacheWrite, Facts, Image, Measure, Meters

NOTHING_SAID: Mapping[bytes, bytes] = MappingProxyType({})
"""The headers of a request that has none."""
CACHE_WRITE_UNSEEN: CacheWrite = "1h"
"""What a field that nobody knows here, or what the provider holds, may ask for."""


class Call(msgspec.Struct, frozen=True):
    """A request as it was priced. `fields` is its top level, values raw: what is forwarded is
    written from these, so that nothing can be forwarded that was not priced. `input_tokens_max` is
    the bound by bytes of all but `images`, whose tokens depend on the model. `output_cap` is 0
    where nothing is produced, None where the client leaves it open; below `output_tokens_least`
    the provider would refuse. `headers` go to the provider beside the route's own. `input_windows`:
    how many inputs there are of which each may fill the model's context window, or how often the
    provider may read it where it calls tools by itself; 0 where the window bounds nothing.
    `events_beside`: events that a stream may have for what is not produced. `searches_max`: how
    many searches the provider may bill. `context_tokens`: of the window that the request opens, 0
    for the model's own. `service_tier`: the one that is asked for, "" for none: whether it has a
    price is the route's to say."""

    model: str
    stream: bool
    wants_usage: bool
    n: int
    output_cap: int | None
    fields: dict[str, msgspec.Raw]
    input_tokens_max: int
    unseen_content: bool
    has_tools: bool
    cache_write: CacheWrite
    audio_input: bool
    audio_output: bool
    images: tuple[Image, ...] = ()
    output_tokens_least: int = 0
    headers: HeaderBlock = NO_HEADERS
    input_windows: int = 1
    events_beside: int = 0
    context_tokens: int = 0
    service_tier: str = ""
    searches_max: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What an answer says about itself: its meters (None: no usable usage), names, whether it is
    the provider's error instead, said with status 200 before any output, and what decides its price
    beside the meters."""

    meters: Meters | None
    model_served: str = ""
    finish_reason: str = ""
    is_error: bool = False
    facts: Facts = STANDARD


class StreamReader(Protocol):
    """Follows one streamed answer: passes bytes on and learns how it ended."""

    @property
    def usage(self) -> Usage:
        """What the stream has said so far."""
        ...

    @property
    def complete(self) -> bool:
        """Whether its end mark came."""
        ...

    @property
    def usage_is_final(self) -> bool:
        """Whether `usage` is the whole, not a count so far."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Bytes to pass on now; the end of the stream is kept for `finish`."""
        ...

    def end(self) -> None:
        """The provider has no more to say: `usage` and `complete` are final."""
        ...

    def finish(self, cost_usd: str | None) -> bytes:
        """What is left to send, with the cost where the client asked for usage."""
        ...


class Dialect(Protocol):
    """One surface. To add one is to add a file and a line in the table of `gateway.dialects`."""

    @property
    def endpoint(self) -> str:
        """Its path, as the providers' references write it."""
        ...

    def parse(self, body: bytes, headers: Mapping[bytes, bytes]) -> Call:
        """`headers`: of the request, names in lower case. Raises InvalidRequest, NotPriced."""
        ...

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """The field of this name by another measure than bytes: without unseen content."""
        ...

    def encode(self, call: Call, model: str) -> bytes:
        """The request as it is recorded and priced, without an output cap."""
        ...

    def with_cap(self, encoded: bytes, cap_field: str, output_tokens: int) -> bytes:
        """The request as it is sent: the provider enforces our bound."""
        ...

    def usage(self, body: bytes, biller: str) -> tuple[Usage, bytes]:
        """What a whole answer says, and its raw usage object (empty: none). `biller`: as in
        Route."""
        ...

    def told(self, body: bytes, raw_usage: bytes, cost_usd: str | None) -> bytes:
        """A whole answer as the client gets it: with its cost in the usage object, where it is to
        have it. Raises UpstreamFailed for one that no client could read."""
        ...

    def stream_reader(self, call: Call, biller: str) -> StreamReader:
        """A reader for one streamed answer. `biller`: as in Route."""
        ...

    def streamed_tokens_max(self, received: bytes) -> int:
        """A bound on the output tokens in what was received of a stream."""
        ...

    def provider_error(self, status: int, body: bytes) -> bytes:
        """The provider's own error as the client gets it."""
        ...

    def error_body(self, error: GatewayError) -> bytes:
        """The error in this surface's shape."""
        ...

    def error_event(self, error: GatewayError) -> bytes:
        """The error inside a stream that has begun."""
        ...
