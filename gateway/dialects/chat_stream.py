"""Follows a streamed chat completion: a copy and a byte search per chunk, nothing more.

A chunk of whole events without usage in it is passed on as it came. Only the rest is looked at
event by event: pieces of events, the usage (the gateway always asks for it, and hides it from
clients that did not), and the end.
"""

import re
from dataclasses import replace
from functools import lru_cache

import msgspec

from gateway.dialects.contract import Usage
from gateway.dialects.event_stream import EventStream, payload_of
from pricing import STANDARD, Facts, UsageInvalid, read_usage

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = b"[DONE]"
API = "openai-chat"
TIERS_KEPT_MAX = 64


class Choice(msgspec.Struct):
    """What is read of a choice; the rest is skipped."""

    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    model: str | None = None
    choices: list[Choice] | None = None
    service_tier: str | None = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)


class ChatStreamReader(EventStream):
    """See StreamReader."""

    __slots__ = (
        "_biller",
        "_choices",
        "_final",
        "_priced_at",
        "_started",
        "_tier",
        "_wants_usage",
        "complete",
        "usage",
    )

    def __init__(self, *, wants_usage: bool, biller: str = "", choices: int = 1) -> None:
        super().__init__()
        self._wants_usage = wants_usage
        self._biller = biller
        self._choices = choices
        self._tier: str | None = None
        self._priced_at = -1
        self._final = False
        self._started = False
        self.usage = Usage(None)
        self.complete = False

    def feed(self, chunk: bytes) -> bytes:
        """See StreamReader."""
        if (
            self._started
            and not self._pending
            and not self._held
            and chunk.endswith(b"\n\n")
            and _DONE not in chunk
            and _USAGE.search(chunk) is None
        ):
            return chunk
        return self._by_event(chunk)

    def _passes(self, event: bytes) -> bool:
        """Whether an event goes to the client now. From the finishing usage on, all are held
        back, in their order: the cost is known only at the end."""
        payload = payload_of(event)
        if not self._started and payload:
            self._started = True
            self.usage = Usage(None, is_error=_is_error(payload))
            self._tier = _tier(payload)
        if payload == _DONE:
            self.complete = True
        elif _USAGE.search(event) is not None and self._reads_usage(event, payload):
            return False
        if self.complete or self._held:
            self._held.append(event)
            return False
        return True

    def _reads_usage(self, event: bytes, payload: bytes) -> bool:
        """Takes the usage out of an event; whether the event is dealt with (held or hidden)."""
        try:
            parsed = _chunk_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        raw = bytes(parsed.usage)
        if not raw.startswith(b"{"):
            return False
        tier = parsed.service_tier or self._tier
        self.usage = usage_from(raw, parsed.model, parsed.choices, self._biller, tier)
        if parsed.choices and (self._choices > 1 or not parsed.choices[0].finish_reason):
            # A count so far, or that of one choice (vLLM's continuous_usage_stats): not the last.
            return False
        self._final = True
        if parsed.choices or self._wants_usage:
            self._priced_at = len(self._held)
            self._held.append(event)
        return True

    def end(self) -> None:
        """See StreamReader. A last event may lack its empty line; half an event is dropped."""
        pending = self._taken_pending()
        payload = payload_of(pending)
        if payload == _DONE:
            self._passes(pending + b"\n\n")
        elif payload:
            try:
                msgspec.json.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                payload = b""
            if payload and self._passes(b"data: " + payload + b"\n\n"):
                self._held.append(b"data: " + payload + b"\n\n")

    @property
    def usage_is_final(self) -> bool:
        """See StreamReader."""
        return self._final

    def finish(self, cost_usd: str | None) -> bytes:
        """See StreamReader."""
        if cost_usd is not None and self._wants_usage and self._priced_at >= 0:
            event = self._held[self._priced_at]
            found = _USAGE.search(event)
            assert found is not None
            cost = b'"cost":%b,' % cost_usd.encode()
            self._held[self._priced_at] = event[: found.end()] + cost + event[found.end() :]
        return b"".join(self._held)


def _is_error(payload: bytes) -> bool:
    """Whether an answer's first words are the provider's error, and nothing was produced."""
    if b'"error"' not in payload:
        return False
    try:
        said = _chunk_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return bytes(said.error) not in (b"", b"null") and not said.choices and not bytes(said.usage)


def _tier(payload: bytes) -> str | None:
    """The service tier that a stream's first event names: not everybody repeats it at the end."""
    if b'"service_tier"' not in payload:
        return None
    try:
        return _chunk_decoder.decode(payload).service_tier
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def usage_from(
    raw: bytes, model: str | None, choices: list[Choice] | None, biller: str, tier: str | None
) -> Usage:
    """Meters, facts and names of an answer; meters None where its usage is absent or not
    believable. `tier`: the service tier that the answer names beside its usage (OpenAI's API
    reference, "The chat completion object")."""
    meters, facts = None, STANDARD
    if raw.startswith(b"{"):
        try:
            used = read_usage(biller, msgspec.json.decode(raw), api=API)
            meters, facts = used.meters, with_tier(used.facts, tier)
        except (UsageInvalid, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            meters = None
    finish = choices[0].finish_reason or "" if choices else ""
    return Usage(meters, model or "", finish, facts=facts)


def with_tier(facts: Facts, tier: str | None) -> Facts:
    """Facts of an answer that names this tier beside its usage."""
    if not tier:
        return facts
    return _of_tier(tier) if facts is STANDARD else replace(facts, service_tier=tier)


@lru_cache(TIERS_KEPT_MAX)
def _of_tier(tier: str) -> Facts:
    """Nearly all that answers ever say: made once for each tier."""
    return Facts(service_tier=tier)
