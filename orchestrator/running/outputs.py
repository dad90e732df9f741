"""How JSON values stand in a row: as text, or, where they are long, by reference to one that is
kept once."""

import json
from hashlib import sha256
from typing import Any

from orchestrator.kinds.contract import StepFailed
from orchestrator.running.database import Database, Value, sql

OUTPUT_BYTES_MAX = 8 * 1024 * 1024
ROW_BYTES_MAX = 64 * 1024
"""Longer ones are kept apart: rows are read together."""
_REFERENCE = "@"  # no JSON text begins with it


def checked(output: Any) -> Any:
    """A step's output as JSON has it: what a program in Python answers may be a tuple. Raises
    StepFailed for what JSON does not have, or is too long."""
    try:
        text = json.dumps(output, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StepFailed(f"its output is no JSON value: {error}", is_final=True) from None
    if len(text) > OUTPUT_BYTES_MAX:
        raise StepFailed(
            f"its output has {len(text)} bytes, and may have {OUTPUT_BYTES_MAX}: write what is "
            "large into a file and answer its name",
            is_final=True,
        )
    return json.loads(text)


def written(text: str) -> str:
    """As every database takes it: without zero bytes, and halves of characters as `?`."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def stored(database: Database, output: Any) -> str:
    """What the row holds."""
    text = json.dumps(output, separators=(",", ":"))
    if len(text) <= ROW_BYTES_MAX:
        return text
    id_ = _REFERENCE + sha256(text.encode()).hexdigest()
    database.execute(sql("put_blob"), (id_, text))
    return id_


def loaded(text: Value) -> Any:
    """The value of a column whose reference was followed."""
    return None if text is None else json.loads(str(text))
