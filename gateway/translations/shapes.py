"""Reads answers that may hold anything: what is of another type counts as not there."""

from typing import Any

import msgspec


def decoded_object(body: bytes) -> dict[str, Any]:
    """The object that a body is; empty where it is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return as_object(value)


def as_object(value: Any) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def count(usage: dict[str, Any], name: str) -> int:
    """A number of tokens, 0 where none is said."""
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def error_message(body: bytes) -> str:
    """What a provider's error says, in the shape that OpenAI and Anthropic share."""
    words = as_object(decoded_object(body).get("error")).get("message")
    return words if isinstance(words, str) else ""
