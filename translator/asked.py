"""A request of the gateway's, read: what LiteLLM is called with, and what may leave for it.

LiteLLM takes its own settings (another server, key, callback, cache) as arguments beside those of a
request, so only what is named here gets there.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec

from translator.errors import Refused
from translator.texts import payload_of, tokens_reserved

PASSED = frozenset(
    (
        *("messages", "stream", "stream_options", "temperature", "top_p", "n", "stop", "seed"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"),
        *("user", "thinking"),
    )
)
OURS = frozenset(("model", "max_tokens"))
FIELDS = PASSED | OURS


@dataclass(frozen=True, slots=True)
class Asked:
    """`arguments`: of a completion. `cap`: output tokens granted to each of `n` choices.
    `tokens_max`: for all texts that leave; `pictures`: base64 of those that may leave beside."""

    arguments: dict[str, Any]
    stream: bool
    cap: int
    n: int
    tokens_max: int
    pictures: Counter[str]


def read(body: bytes) -> Asked:
    """Raises Refused."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("the request is no JSON object") from None
    fields = {name: value for name, value in fields.items() if value is not None}
    unknown = sorted(fields.keys() - FIELDS)
    if unknown:
        raise Refused(
            f"{unknown[0][:64]} is not passed on to a provider that is reached through LiteLLM: "
            "remove it",
            param=unknown[0][:64],
        )
    cap, n = fields.get("max_tokens"), fields.get("n", 1)
    if type(cap) is not int or cap < 1 or type(n) is not int or n < 1:
        raise Refused("the request came without the gateway's cap")
    stream = fields.get("stream") is True
    if stream and n > 1:  # LiteLLM tells the end of the first of them alone
        raise Refused(
            "a provider that is reached through LiteLLM streams one answer: ask for n of 1, or "
            "leave stream out",
            param="n",
        )
    _check_tools(fields.get("tools"))
    pictures = _pictures(fields.get("messages"))
    return Asked(
        arguments={name: value for name, value in fields.items() if name in PASSED},
        stream=stream,
        cap=cap,
        n=n,
        tokens_max=tokens_reserved(fields, pictures),
        pictures=pictures,
    )


def _check_tools(tools: object) -> None:
    """What the provider runs itself brings content that nobody has seen, and a bill of its own."""
    if tools is not None and not isinstance(tools, list):
        raise Refused("tools is a list of tools", param="tools")
    for tool in tools or ():
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise Refused(
                "only tools of type function are passed on to a provider that is reached through "
                "LiteLLM",
                param="tools",
            )


def _pictures(messages: object) -> Counter[str]:
    """Those of a request, as base64. Another URL would be fetched here, by LiteLLM: a request that
    nobody has reserved for, to a server that the caller chooses."""
    if not isinstance(messages, list) or not messages:
        raise Refused("messages is a list of at least one message", param="messages")
    found: Counter[str] = Counter()
    for message in messages:
        if not isinstance(message, dict):
            raise Refused("each message is an object", param="messages")
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            found.update(_picture(part))
    return found


def _picture(part: object) -> list[str]:
    """Of a part of a content; other parts than texts and pictures are refused."""
    if not isinstance(part, dict) or part.get("type") not in ("text", "image_url"):
        raise Refused(
            "only text and pictures are passed on to a provider that is reached through LiteLLM",
            param="messages",
        )
    if part["type"] == "text":
        return []
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    payload = payload_of(url) if isinstance(url, str) else ""
    if not payload:
        raise Refused(
            "send pictures as data URLs (data:image/png;base64,...): none is fetched for a "
            "provider that is reached through LiteLLM",
            param="messages",
        )
    return [payload]
