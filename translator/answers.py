"""A provider's answer as it comes from the network, before LiteLLM reads it: what it says was used,
and whether it is whole. LiteLLM counts by itself where a provider says nothing, and ends a stream
that broke off as if it were whole, so neither is asked of it."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from translator.shapes import Shape

ANSWER_BYTES_MAX = 64 * 1024 * 1024
EVENT_BYTES_MAX = 4 * 1024 * 1024
ERROR_BYTES_MAX = 64 * 1024
_DONE = b"[DONE]"


class _Splitter(Protocol):
    """Events out of bytes, or a whole document at the end."""

    def feed(self, chunk: bytes) -> Iterator[bytes]: ...

    def end(self) -> Iterator[bytes]: ...


class Answer:
    """`status` is 0 until its head is there. `usage`: the provider's own object, empty for none.
    `complete`: whether it has said that it is whole. `error_body`: how an error begins."""

    def __init__(self, shape: Shape, *, streamed: bool) -> None:
        self.shape = shape
        self._streamed = streamed
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.usage: dict[str, Any] = {}
        self.complete = False
        self.error_body = b""
        self._splitter: _Splitter = _Whole()
        self._readable = True

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Its head."""
        self.status, self.headers = status, headers
        self._readable = headers.get("content-encoding", "identity") == "identity"
        content_type = headers.get("content-type", "").lower()
        if content_type.startswith("text/event-stream"):
            self._splitter = _Events()
        elif content_type.startswith("application/vnd.amazon.eventstream"):
            self._splitter = _AmazonEvents()
        elif self._streamed:
            self._splitter = _Lines()

    def feed(self, chunk: bytes) -> None:
        """Bytes of its body."""
        if self.status != 200:
            self.error_body += chunk[: ERROR_BYTES_MAX - len(self.error_body)]
        elif self._readable:
            for event in self._splitter.feed(chunk):
                self._read(event)

    def end(self) -> None:
        """Its body ended in order."""
        if self.status == 200 and self._readable:
            for event in self._splitter.end():
                self._read(event)
                self.complete = self.complete or isinstance(self._splitter, _Whole)

    def flush(self) -> None:
        """Reads what has come of a stream to its last byte: LiteLLM stops at the event that it
        takes for the last one, and an event ends with an empty line."""
        if self.status == 200 and self._readable and not isinstance(self._splitter, _Whole):
            for event in self._splitter.end():
                self._read(event)

    def _read(self, event: bytes) -> None:
        if event == _DONE:
            self.complete = True
            return
        try:
            document = msgspec.json.decode(event, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self.usage.update(
            {name: each for name, each in self.shape.usage(document).items() if each is not None}
        )
        self.complete = self.complete or self.shape.ends(document)


class _Whole:
    """One document, as long as the answer."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        self._bytes += len(chunk)
        if self._bytes <= ANSWER_BYTES_MAX:
            self._pieces.append(chunk)
        return iter(())

    def end(self) -> Iterator[bytes]:
        if self._bytes <= ANSWER_BYTES_MAX:
            yield b"".join(self._pieces)


class _Events:
    """Server-sent events (WHATWG HTML, 9.2.6): the data of each, line by line."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > EVENT_BYTES_MAX:
            self._rest = b""
        for line in lines:
            if line.startswith(b"data:"):
                self._bytes += len(line)
                if self._bytes <= EVENT_BYTES_MAX:
                    self._data.append(line[5:].strip())
            elif not line.strip() and self._data:
                yield self._event()

    def end(self) -> Iterator[bytes]:
        """The last event may lack its empty line."""
        rest, self._rest = self._rest, b""
        if rest.startswith(b"data:"):
            self._data.append(rest[5:].strip())
        if self._data:
            yield self._event()

    def _event(self) -> bytes:
        event, self._data, self._bytes = b"\n".join(self._data), [], 0
        return event


class _Lines:
    """A document in each line, as Cohere streams to who accepts JSON."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > EVENT_BYTES_MAX:
            self._rest = b""
        return (line for line in lines if line.strip())

    def end(self) -> Iterator[bytes]:
        rest, self._rest = self._rest, b""
        return iter([rest] if rest.strip() else ())


class _AmazonEvents:
    """Amazon's event stream: each message has its length first (AWS SDK for Java, "Event stream
    encoding"): 4 bytes of total length, 4 of the headers' length, 4 of checksum, the headers, the
    payload, 4 of checksum. The checksums are for who uses the content; money is bounded without."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        self._buffer += chunk
        while len(self._buffer) >= 12:
            total = int.from_bytes(self._buffer[:4], "big")
            headers = int.from_bytes(self._buffer[4:8], "big")
            if not 16 + headers <= total <= EVENT_BYTES_MAX:
                self._buffer.clear()
                return
            if len(self._buffer) < total:
                return
            yield bytes(self._buffer[12 + headers : total - 4])
            del self._buffer[:total]

    def end(self) -> Iterator[bytes]:
        return iter(())
