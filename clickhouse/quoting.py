"""Text of ours inside SQL: the few places where a parameter cannot stand (SET, KILL), and lists as
parameters."""

import re
from collections.abc import Iterator, Mapping, Sequence

LIST_BYTES_MAX = 100_000
"""A ClickHouse server takes 128 KiB in one field of a form (http_max_field_value_size)."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


def quoted(text: str) -> str:
    """A string literal of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names in order, in pieces of which each is one parameter: none where there are none."""
    first = size = 0
    for at, name in enumerate(names):
        size += len(name) + 3
        if size > LIST_BYTES_MAX and at > first:
            yield names[first:at]
            first, size = at, len(name) + 3
    if first < len(names):
        yield names[first:]


def array(names: Sequence[str]) -> str:
    """A parameter of type Array(String), of names without quotes, backslashes and control
    characters: no scope, counter or key has any."""
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def settings_text(settings: Mapping[str, str | int]) -> str:
    """`a = 1, b = 'x'`. A map setting is given as its text `{'a':'b'}` and is not quoted again."""
    parts = []
    for name, value in settings.items():
        assert _NAME.fullmatch(name), name
        literal = str(value)
        if isinstance(value, str) and name != "additional_table_filters":
            literal = quoted(value)
        parts.append(f"{name} = {literal}")
    return ", ".join(parts)
