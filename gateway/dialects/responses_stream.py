"""Follows a streamed response: a copy and a byte search per chunk, nothing more.

The events are those of OpenAI's API reference, "Streaming events". The last one (completed,
incomplete, failed, or an error) carries the whole response, its usage too, and ends the stream:
there is no other mark. It is held back, because the cost in it is known only at the end.
"""

import re

import msgspec

from gateway.dialects.added_fields import with_cost
from gateway.dialects.contract import Usage
from gateway.dialects.event_stream import EventStream, payload_of
from gateway.dialects.responses_usage import Response, is_said, usage_of
from gateway.dialects.streamed_texts import events_in, texts_tokens

EVENT_BYTES_MAX = 32 * 1024 * 1024
"""The last event repeats instructions and tools beside the whole output."""

LAST_EVENTS = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "error")
)
# Before any output.
_FIRST_EVENTS = frozenset(("response.created", "response.queued", "response.in_progress"))
_LAST = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"', re.ASCII
)
# Of an item, what no token of the output stands for.
_UNCOUNTED = frozenset(("type", "id", "call_id", "status", "role", "encrypted_content", "object"))


class _Event(msgspec.Struct):
    type: str | None = None
    response: Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_event_decoder = msgspec.json.Decoder(_Event)


class ResponsesStreamReader(EventStream):
    """See StreamReader."""

    __slots__ = (
        "_biller",
        "_priced_at",
        "_produced",
        "_raw_usage",
        "complete",
        "usage",
    )

    event_bytes_max = EVENT_BYTES_MAX

    def __init__(self, biller: str) -> None:
        super().__init__()
        self._biller = biller
        self._priced_at = -1
        self._raw_usage = b""
        self._produced = False
        self.usage = Usage(None)
        self.complete = False

    @property
    def usage_is_final(self) -> bool:
        """See StreamReader."""
        return self.complete and self.usage.meters is not None

    def feed(self, chunk: bytes) -> bytes:
        """See StreamReader."""
        if (
            self._produced
            and not self._pending
            and not self.complete
            and chunk.endswith(b"\n\n")
            and _LAST.search(chunk) is None
        ):
            return chunk
        return self._by_event(chunk)

    def _passes(self, event: bytes) -> bool:
        """Whether an event goes to the client now; from the last one on they are held back."""
        if not self.complete and (not self._produced or _LAST.search(event) is not None):
            payload = payload_of(event)
            if payload:
                self._reads(payload)
        if self.complete:
            self._held.append(event)
        return not self.complete

    def _reads(self, payload: bytes) -> None:
        """Takes in an event that may be the last, or the first that has output."""
        try:
            said = _event_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._produced = True
            return
        # Compatible servers may write an error as their other surfaces do, without a type.
        is_last = said.type in LAST_EVENTS or (said.type is None and is_said(said.error))
        if is_last:
            response = said.response or Response(error=msgspec.Raw(b"{}"))
            self.usage = usage_of(response, self._biller, produced=self._produced)
            self._raw_usage = bytes(response.usage)
            self._priced_at = len(self._held)
            self.complete = True
        elif said.type not in _FIRST_EVENTS:
            self._produced = True

    def end(self) -> None:
        """See StreamReader. A last event may lack its empty line; half an event is dropped."""
        pending = self._taken_pending()
        payload = payload_of(pending)
        try:
            msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        event = pending.rstrip(b"\r\n") + b"\n\n"
        if self._passes(event):
            self._held.append(event)

    def finish(self, cost_usd: str | None) -> bytes:
        """See StreamReader."""
        if cost_usd is not None and self._raw_usage.startswith(b"{"):
            event = self._held[self._priced_at]
            self._held[self._priced_at] = with_cost(event, self._raw_usage, cost_usd)
        return b"".join(self._held)


def streamed_tokens_max(received: bytes) -> int:
    """A bound on the output tokens in what was received of a stream, every text by its bytes. The
    events of an item say it twice, in pieces and whole: the larger of both counts."""
    in_pieces: dict[object, int] = {}
    whole: dict[object, int] = {}
    beside = 0
    for payload, event in events_in(received):
        if event is None:
            beside += len(payload)
            continue
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            beside += texts_tokens(event, _UNCOUNTED)
        elif kind in _FIRST_EVENTS or kind in LAST_EVENTS:
            continue  # they repeat the request, or what came before
        else:
            at = event.get("output_index")
            place = at if type(at) is int else -1
            if kind.endswith(".delta"):
                added = texts_tokens(event.get("delta"), _UNCOUNTED)
                in_pieces[place] = in_pieces.get(place, 0) + added
            else:
                said = {name: event.get(name) for name in event.keys() - _FRAME}
                whole[place] = max(whole.get(place, 0), texts_tokens(said, _UNCOUNTED))
    places = in_pieces.keys() | whole.keys()
    return beside + sum(max(in_pieces.get(at, 0), whole.get(at, 0)) for at in places)


_FRAME = frozenset(("type", "item_id", "output_index", "content_index", "sequence_number"))
