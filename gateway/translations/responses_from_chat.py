"""OpenAI's Responses on chat completions: answers, whole and streamed.

The shapes are those of the API reference ("The response object", "Streaming events"). Nothing is
kept: `store` is false, and the ids are made from the completion's.
"""

from typing import Any

import msgspec

from gateway.dialects.contract import Call
from gateway.errors import UpstreamFailed
from gateway.translations.responses_shapes import (
    call_item,
    ended,
    item_id,
    message_item,
    response,
    text_part,
    usage_shown,
)
from gateway.translations.responses_stream import ResponsesStream
from gateway.translations.responses_to_chat import chat_request
from gateway.translations.shapes import as_object, as_objects, decoded_object, error_message


class ResponsesOnChat:
    """See Translation."""

    endpoint = "/v1/responses"
    target = "/v1/chat/completions"

    def request(self, call: Call) -> bytes:
        """See Translation."""
        return chat_request(call)

    def answer(self, body: bytes) -> bytes:
        """See Translation."""
        completion = decoded_object(body)
        choices = as_objects(completion.get("choices"))
        if not choices:
            raise UpstreamFailed("the provider's answer is no chat completion")
        output = _output(completion, as_object(choices[0].get("message")))
        reason = choices[0].get("finish_reason")
        usage = usage_shown(as_object(completion.get("usage")))
        return msgspec.json.encode(response(completion) | ended(reason, output, usage))

    def error_message(self, body: bytes) -> str:
        """See Translation."""
        return error_message(body)

    def stream(self, _call: Call) -> ResponsesStream:
        """See Translation."""
        return ResponsesStream()


def _output(completion: dict[str, Any], message: dict[str, Any]) -> list[dict[str, Any]]:
    items = []
    parts = []
    if isinstance(message.get("content"), str) and message["content"]:
        parts.append(text_part(message["content"]))
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        items.append(message_item(item_id(completion, 0), parts))
    for call in as_objects(message.get("tool_calls")):
        items.append(call_item(item_id(completion, len(items)), call))
    return items
