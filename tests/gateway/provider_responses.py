"""What the scripted provider can do at /v1/responses: answer well in odd spellings, and fail.

Events and bodies have the fields of OpenAI's API reference ("The response object", "Streaming
events"), in spacing that no encoder would choose.
"""

import asyncio
import json
from typing import Any

from tests.gateway.provider import Behaviour, Received, Reply

WORDS = ("Hello", " there", ", caf\u00e9", " \u2603", ' "type": "response.completed"', "!")
TEXT = "".join(WORDS)


def usage_text(input_tokens: int, output_tokens: int, **more: Any) -> bytes:
    """A usage object in a spelling of its own."""
    return (
        b'{ "input_tokens": %d , "input_tokens_details": {"cached_tokens": 0}, "output_tokens":%d,'
        b'  "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": %d }'
    ) % (input_tokens, output_tokens, input_tokens + output_tokens)


def message_item(text: str = TEXT) -> dict[str, Any]:
    """A message of the model."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
    return {**item, "content": [part]}


def call_item() -> dict[str, Any]:
    """A call of a function."""
    call = {"call_id": "call_1", "name": "weather", "arguments": '{"city": "Delft"}'}
    return {"id": "fc_1", "type": "function_call", "status": "completed", **call}


def search_item() -> dict[str, Any]:
    """A search that is billed."""
    action = {"type": "search", "query": "delft"}
    return {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": action}


def response_text(
    items: list[dict[str, Any]], usage: bytes | None, status: str = "completed", **more: Any
) -> bytes:
    """A response whose usage stands in the middle, where OpenAI has it."""
    head: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "served-model",
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }
    text = json.dumps(head, ensure_ascii=False).encode()
    said = b"null" if usage is None else usage
    return text[:-1] + b', "usage" :  ' + said + b', "metadata":  {} }'


def event(kind: str, number: int, fields: dict[str, Any]) -> bytes:
    """One event."""
    document = {"type": kind, "sequence_number": number, **fields}
    text = json.dumps(document, ensure_ascii=False).encode()
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), text)


def last_event(kind: str, response: bytes) -> bytes:
    """The last event, with the response as it is written."""
    return b'event: %b\ndata: {"type": "%b","sequence_number":99, "response": %b }\n\n' % (
        kind.encode(),
        kind.encode(),
        response,
    )


def first_events() -> list[bytes]:
    """Before any output."""
    begun = json.loads(response_text([], None, "in_progress"))
    return [
        event("response.created", 0, {"response": begun}),
        event("response.in_progress", 1, {"response": begun}),
    ]


def word_events() -> list[bytes]:
    """A message, in pieces."""
    item = message_item()
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    added = {"output_index": 0, "item": {**item, "content": [], "status": "in_progress"}}
    return [
        event("response.output_item.added", 2, added),
        event("response.content_part.added", 3, {**at, "part": empty}),
        *(event("response.output_text.delta", 4, {**at, "delta": word}) for word in WORDS),
        event("response.output_text.done", 5, {**at, "text": TEXT, "logprobs": []}),
        event("response.content_part.done", 6, {**at, "part": item["content"][0]}),
        event("response.output_item.done", 7, {"output_index": 0, "item": item}),
    ]


def call_events() -> list[bytes]:
    """A call, in pieces."""
    item = call_item()
    at = {"item_id": "fc_1", "output_index": 0}
    begun = {**item, "arguments": "", "status": "in_progress"}
    kind = "response.function_call_arguments"
    return [
        event("response.output_item.added", 2, {"output_index": 0, "item": begun}),
        event(f"{kind}.delta", 3, {**at, "delta": '{"city"'}),
        event(f"{kind}.delta", 4, {**at, "delta": ': "Delft"}'}),
        event(f"{kind}.done", 5, {**at, "arguments": item["arguments"], "name": "weather"}),
        event("response.output_item.done", 6, {"output_index": 0, "item": item}),
    ]


def responds(
    items: list[dict[str, Any]] | None = None, input_tokens: int = 11, output_tokens: int = 7
) -> Behaviour:
    """A good answer with this usage, streamed where the request says so."""

    async def behave(received: Received, reply: Reply) -> None:
        said = [message_item()] if items is None else items
        whole = response_text(said, usage_text(input_tokens, output_tokens))
        received.billed = (input_tokens, output_tokens)
        if not received.json.get("stream"):
            reply.whole(200, whole)
            return
        middle = call_events() if said and said[0]["type"] == "function_call" else word_events()
        reply.begin()
        for each in (*first_events(), *middle, last_event("response.completed", whole)):
            reply.chunk(each)
            await asyncio.sleep(0)
        reply.end()

    return behave


def uses_all(input_tokens: int) -> Behaviour:
    """Uses all that it was allowed."""

    async def behave(received: Received, reply: Reply) -> None:
        cap = received.json["max_output_tokens"]
        received.billed = (input_tokens, cap)
        reply.whole(200, response_text([message_item()], usage_text(input_tokens, cap)))

    return behave
