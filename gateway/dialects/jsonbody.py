"""A JSON object's top level, parsed once, its values kept as the bytes they are.

Duplicate keys are an error: two parsers may disagree on which one counts, and then what is priced
is not what is forwarded. Depth is bounded by the parser's own recursion limit.
"""

import json
from typing import Any

import msgspec

from gateway.errors import InvalidRequest

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode
FIELDS_MAX = 200
MODEL_CHARS_MAX = 256


def parse_object(body: bytes) -> dict[str, msgspec.Raw]:
    """Top-level fields in order. Raises InvalidRequest."""
    try:
        if not body.isascii():
            body.decode()  # values that stay raw are not looked at by the parser
        fields = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    if len(fields) > FIELDS_MAX:
        raise InvalidRequest(f"the body has more than {FIELDS_MAX} top-level fields")
    # Written again without white space it has the same length exactly if nothing was dropped.
    if len(_encode(fields)) != len(body):
        _refuse_duplicates(body)
    return fields


def _refuse_duplicates(body: bytes) -> None:
    """Slow, and only for bodies with white space or escapes at the top level."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidRequest(f"field {name!r} is there twice", param=name)
            seen.add(name)

    try:
        json.loads(body, object_pairs_hook=check)
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None


def decoded(fields: dict[str, msgspec.Raw], name: str) -> Any:
    """A field's value, None where it is absent or null. Raises InvalidRequest."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{name} is not valid JSON: {error}", param=name) from None
    except RecursionError:
        raise InvalidRequest(f"{name} is nested too deeply", param=name) from None


def rewritten(fields: dict[str, msgspec.Raw], name: str) -> Any:
    """A field's value, which from here on is what is forwarded: a key that is there twice inside
    it would else be one thing to us and another to the provider's parser."""
    value = decoded(fields, name)
    if name in fields:
        fields[name] = msgspec.Raw(_encode(value))
    return value


def model_name(fields: dict[str, msgspec.Raw]) -> str:
    """The field `model`. Raises InvalidRequest."""
    model = decoded(fields, "model")
    if not isinstance(model, str) or not 1 <= len(model) <= MODEL_CHARS_MAX:
        raise InvalidRequest("model is the name of a model, see GET /v1/models", param="model")
    return model


def whole_number(fields: dict[str, msgspec.Raw], name: str, least: int, most: int) -> int | None:
    """An integer field in its range, None where it is absent or null. Raises InvalidRequest."""
    value = decoded(fields, name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequest(f"{name} is a whole number from {least} to {most}", param=name)
    return value


def boolean(fields: dict[str, msgspec.Raw], name: str) -> bool:
    """A boolean field, False where it is absent or null. Raises InvalidRequest."""
    value = decoded(fields, name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} is true or false", param=name)
    return value
