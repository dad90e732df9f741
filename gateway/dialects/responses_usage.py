"""What an answer says about itself: OpenAI's API reference, "The response object".

Whole answers are this object; the last event of a stream carries it whole.
"""

import re
from typing import Any

import msgspec

from gateway.dialects.chat_stream import with_tier
from gateway.dialects.contract import Usage
from pricing import UsageInvalid, read_usage

API = "openai-responses"
# Calls that are billed by the call: only then are the items of an answer looked at.
_BILLED = re.compile(
    rb'"(?:web_search|file_search|image_generation|code_interpreter)_call"', re.ASCII
)


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    """What is read of a response; the rest is skipped."""

    usage: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")
    model: str | None = None
    status: str | None = None
    service_tier: str | None = None
    incomplete_details: _Incomplete | None = None


def usage_of(response: Response, biller: str, *, produced: bool = False) -> Usage:
    """Meters, facts and names of an answer; meters None where its usage is absent or not
    believable.
    `produced`: whether output was seen before. An error without usage and output cost nothing."""
    raw = bytes(response.usage)
    if not raw.startswith(b"{"):
        is_error = is_said(response.error) and not produced and _is_empty(response.output)
        return Usage(None, response.model or "", _finish(response), is_error=is_error)
    try:
        items = _items(response.output)
        used = read_usage(biller, msgspec.json.decode(raw), api=API, output=items)
    except (UsageInvalid, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Usage(None, response.model or "", _finish(response))
    facts = with_tier(used.facts, response.service_tier)
    return Usage(used.meters, response.model or "", _finish(response), facts=facts)


def is_said(error: msgspec.Raw) -> bool:
    """Whether an error is there, and not null."""
    return bytes(error) not in (b"", b"null")


def _items(output: msgspec.Raw) -> list[dict[str, Any]]:
    raw = bytes(output)
    if _BILLED.search(raw) is None:
        return []
    items = msgspec.json.decode(raw, type=list[dict[str, Any]])
    # A shell in a container would be billed, and is refused: this one is the client's.
    return [each for each in items if each.get("type") != "shell_call"]


def _is_empty(output: msgspec.Raw) -> bool:
    return bytes(output) in (b"", b"null") or not bytes(output).strip(b"[] \t\r\n")


def _finish(response: Response) -> str:
    """The reason of what is incomplete, else the status."""
    details = response.incomplete_details
    return (details.reason if details is not None else None) or response.status or ""
