"""Values of hostile JSON as the records read them, whatever the wire format.

Nothing here raises: what cannot be read is None, or nothing.
"""

import hashlib
import json
import math
import re
from typing import Any

import msgspec

NAME_CHARS_MAX = 256  # providers' names have 64 at most; longer ones are cut
DEPTH_MAX = 256  # far from the interpreter's limit: what is readable must not hang on who calls
MARK = "comptroller"
# What msgspec refuses and a record can keep: half a surrogate pair, bytes that are no UTF-8, NaN,
# numbers out of range. Standard JSON has no name for the last two: they become null.
_LOOSE = re.compile(rb"[\x80-\xff]|\\u|NaN|Infinity|[0-9][eE]|[0-9]{17}")
_loose_json = json.JSONDecoder(
    parse_constant=lambda _: None,
    parse_float=lambda digits: number if math.isfinite(number := float(digits)) else None,
)


def may_hold(body: bytes, *names: bytes) -> bool:
    """Whether it is worth parsing: most bodies have no tools. A name may also be written with
    escapes, so whatever has any is parsed."""
    return b"\\u" in body or any(name in body for name in names)


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; of anything else none."""
    return [each for each in value if type(each) is dict] if type(value) is list else []


def field_of(value: Any, name: str) -> Any:
    """A field of an object; None of anything else."""
    return value.get(name) if type(value) is dict else None


def name_of(value: Any) -> str:
    """A text that names something, at most NAME_CHARS_MAX of it; empty for what is none."""
    return _utf8(value[:NAME_CHARS_MAX]).decode() if type(value) is str else ""


def measured(value: Any) -> tuple[int, str]:
    """Bytes and SHA-256 of a text, or of the JSON of what is none; null is nothing."""
    data = b"" if value is None else _utf8(value) if type(value) is str else encoded(value)
    return len(data), hashlib.sha256(data).hexdigest()


def _utf8(text: str) -> bytes:
    """The bytes of a text. Halves of a surrogate pair that came in two pieces are put together."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def encoded(value: Any) -> bytes:
    """Its JSON without white space."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return _utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def decoded(data: bytes) -> Any:
    """The value of a JSON text; None where there is none to be had or it is nested too deeply."""
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if _LOOSE.search(data) is None:
            return None
        try:
            value = _loose_json.decode(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX and _is_deep(value):
        return None
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        nested = [each for each in level if type(each) is dict or type(each) is list]
        level = [one for each in nested for one in (each.values() if type(each) is dict else each)]
    return bool(level)
