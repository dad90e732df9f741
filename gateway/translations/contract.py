"""What lies between a client that speaks one wire format and a provider that speaks another.

A request is translated before it is priced: the bound, the cap and the record are those of what is
really sent. What comes back has been metered in the provider's format when it is translated. What
has no counterpart is a clear 400, never left out in silence.
"""

from typing import Protocol

from gateway.dialects.contract import Call


class StreamTranslation(Protocol):
    """One streamed answer."""

    def feed(self, events: bytes) -> bytes:
        """The provider's next bytes in the client's format; pieces of events are kept."""
        ...

    def finish(self, events: bytes, *, complete: bool) -> bytes:
        """The last ones. Where the provider's stream is not `complete`, the end mark is left out:
        an error event comes behind."""
        ...


class Translation(Protocol):
    """From one wire format to another and back. To add one is to add a file and a line in the table
    of `gateway.translations`."""

    @property
    def endpoint(self) -> str:
        """What the client speaks."""
        ...

    @property
    def target(self) -> str:
        """What the provider speaks: another endpoint."""
        ...

    def request(self, call: Call) -> bytes:
        """The request in the provider's format, whose cap stands for the client's, or for none.
        Raises InvalidRequest for what has no counterpart."""
        ...

    def answer(self, body: bytes) -> bytes:
        """A whole answer in the client's format. Raises UpstreamFailed where it cannot be read."""
        ...

    def error_message(self, body: bytes) -> str:
        """What the provider's own error says, for people; empty where it says nothing."""
        ...

    def stream(self, call: Call) -> StreamTranslation:
        """For one streamed answer to this request of the client's."""
        ...
