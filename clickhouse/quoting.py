"""Text of ours inside SQL: the few places where a parameter cannot stand (SET, KILL)."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


def quoted(text: str) -> str:
    """A string literal of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


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
