"""The response object and its parts, as they stand in answers and in the events of a stream."""

from typing import Any

from gateway.translations.shapes import as_object, count

_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(completion: dict[str, Any]) -> dict[str, Any]:
    """The object while it is in progress."""
    created = completion.get("created")
    return {
        "id": f"resp_{completion.get('id') or ''}",
        "object": "response",
        "created_at": created if isinstance(created, int) else 0,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": str(completion.get("model") or ""),
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def ended(reason: Any, output: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
    """What of it is known at the end; `reason` is the completion's."""
    cut = _CUT.get(str(reason))
    return {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "output": output,
        "usage": usage,
    }


def item_id(completion: dict[str, Any], number: int) -> str:
    """The id of an item of its output."""
    return f"item_{completion.get('id') or ''}_{number}"


def text_part(text: str) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(
    id_: str, parts: list[dict[str, Any]], status: str = "completed"
) -> dict[str, Any]:
    """A message of the model's."""
    head = {"type": "message", "id": id_, "role": "assistant", "status": status}
    return head | {"content": parts}


def call_item(id_: str, call: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    """A call of a function, or of a tool whose input is free text."""
    call_id = str(call.get("id") or "")
    if call.get("type") == "custom":
        custom = as_object(call.get("custom"))
        return {
            "type": "custom_tool_call",
            "id": id_,
            "call_id": call_id,
            "name": str(custom.get("name") or ""),
            "input": str(custom.get("input") or ""),
        }
    function = as_object(call.get("function"))
    return {
        "type": "function_call",
        "id": id_,
        "call_id": call_id,
        "name": str(function.get("name") or ""),
        "arguments": str(function.get("arguments") or ""),
        "status": status,
    }


def usage_shown(usage: dict[str, Any]) -> dict[str, Any]:
    """The same counts under their other names."""
    cached = count(as_object(usage.get("prompt_tokens_details")), "cached_tokens")
    reasoning = count(as_object(usage.get("completion_tokens_details")), "reasoning_tokens")
    sent, produced = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    document: dict[str, Any] = {
        "input_tokens": sent,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": produced,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": sent + produced,
    }
    if "cost" in usage:
        document["cost"] = usage["cost"]
    return document
