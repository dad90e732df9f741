"""Follows a streamed message: a copy and a byte search per chunk, nothing more.

A chunk of whole events that are all output is passed on as it came. Only the rest is looked at
event by event: the beginning (which has the input's usage), pieces of events, the end (whose usage
is that of the whole message: Anthropic, guide "Streaming Messages": counts there are cumulative),
and errors.
"""

import re
from typing import Any

import msgspec

from gateway.dialects.contract import Usage
from gateway.dialects.event_stream import EventStream, payload_of
from pricing import UsageInvalid, read_usage

API = "anthropic-messages"
_WATCHED, _ERROR = b"message_", b'"error"'  # two searches of the kind that the processor does
_USAGE = re.compile(rb'"usage"\s*:\s*\{(?=\s*")')


class _Message(msgspec.Struct):
    model: str | None = None
    usage: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    """What is read of an event; the rest is skipped."""

    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_NOTHING = _Event()


class MessagesStreamReader(EventStream):
    """See StreamReader."""

    __slots__ = (
        *("_biller", "_final", "_model", "_priced_at", "_produced", "_used"),
        *("complete", "usage"),
    )

    def __init__(self, biller: str) -> None:
        super().__init__()
        self._biller = biller
        self._priced_at = -1
        self._final = False
        self._produced = False
        self._model = ""
        self._used: dict[str, Any] = {}
        self.usage = Usage(None)
        self.complete = False

    def feed(self, chunk: bytes) -> bytes:
        """See StreamReader."""
        if (
            self._produced
            and not self._pending
            and not self._held
            and chunk.endswith(b"\n\n")
            and _WATCHED not in chunk
            and _ERROR not in chunk
        ):
            return chunk
        return self._by_event(chunk)

    def _passes(self, event: bytes) -> bool:
        """Whether an event goes to the client now. From the last usage on, all are held back, in
        their order: the cost is known only at the end."""
        if not self.complete:
            self._read(event)
        if self.complete or self._final:
            self._held.append(event)
            return False
        return True

    def _read(self, event: bytes) -> None:
        said = _said(payload_of(event))
        match said.type:
            case "message_start" if said.message is not None:
                self._model = said.message.model or ""
                self._used = said.message.usage or {}
                self.usage = Usage(None, self._model)
            case "message_delta":
                self._take_end(event, said)
            case "message_stop":
                self.complete = True
            case "error":
                self.complete = True
                if not self._final:  # else the provider has said what it bills
                    is_error = not self._produced
                    self.usage = Usage(None, self._model, is_error=is_error)
            case "content_block_start" | "content_block_delta":
                self._produced = True

    def _take_end(self, event: bytes, said: _Event) -> None:
        if said.usage is None:
            return
        self._used |= {name: each for name, each in said.usage.items() if each is not None}
        reason = said.delta.stop_reason if said.delta else None
        if not reason:
            return  # a count so far
        self._final = True
        self.usage = usage_from(self._used, self._model, reason, self._biller)
        if _USAGE.search(event) is not None:
            self._priced_at = len(self._held)

    def end(self) -> None:
        """See StreamReader. A last event may lack its empty line; half an event is dropped."""
        payload = payload_of(self._taken_pending())
        if not payload:
            return
        try:
            msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        name = _said(payload).type
        line = b"event: %b\n" % name.encode() if name.isidentifier() else b""
        event = line + b"data: " + payload.replace(b"\n", b"\ndata: ") + b"\n\n"
        if self._passes(event):
            self._held.append(event)

    @property
    def usage_is_final(self) -> bool:
        """See StreamReader."""
        return self._final

    def finish(self, cost_usd: str | None) -> bytes:
        """See StreamReader."""
        if cost_usd is not None and self._priced_at >= 0:
            event = self._held[self._priced_at]
            found = _USAGE.search(event)
            assert found is not None
            cost = b'"cost":%b,' % cost_usd.encode()
            self._held[self._priced_at] = event[: found.end()] + cost + event[found.end() :]
        return b"".join(self._held)


def _said(payload: bytes) -> _Event:
    if not payload:
        return _NOTHING
    try:
        return _event_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING


def usage_from(used: dict[str, Any] | None, model: str, stop_reason: str, biller: str) -> Usage:
    """Meters, facts and names of an answer; meters None where its usage is absent or not
    believable."""
    if used is None:
        return Usage(None, model, stop_reason)
    try:
        read = read_usage(biller, used, api=API)
    except UsageInvalid:
        return Usage(None, model, stop_reason)
    return Usage(read.meters, model, stop_reason, facts=read.facts)
