"""How JSON values stand in a row: as text, or, where they are long, by reference to one that is
kept once."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from orchestrator.kinds.contract import StepFailed
from orchestrator.places import TaskId
from orchestrator.progress import Task
from orchestrator.running.database import Database, Value, sql
from orchestrator.unread import Unread, reference, unread

OUTPUT_BYTES_MAX = 8 * 1024 * 1024
RUN_BYTES_MAX = 64 * 1024 * 1024
"""Of all outputs of a run together."""
ROW_BYTES_MAX = 64 * 1024
"""Longer ones are kept apart: rows are read together."""


def checked(output: Any) -> Unread | None:
    """A step's output as JSON has it: what a program in Python answers may be a tuple. Raises
    StepFailed for what JSON does not have, or is too long."""
    if output is None:
        return None
    try:
        text = json.dumps(output, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise StepFailed(f"its output is no JSON value: {error}", is_final=True) from None
    if len(text) > OUTPUT_BYTES_MAX:
        raise StepFailed(
            f"its output has {len(text)} bytes, and may have {OUTPUT_BYTES_MAX}: write what is "
            "large into a file and answer its name",
            is_final=True,
        )
    return Unread(text)


class Room:
    """What the outputs of a run still may take together: a run is claimed, and kept, whole."""

    def __init__(self, tasks: Mapping[TaskId, Task]) -> None:
        self._sizes = {task: _size(state) for task, state in tasks.items()}
        self._left = RUN_BYTES_MAX - sum(self._sizes.values())

    def take(self, task: TaskId, output: Unread | None) -> Unread | None:
        """For an output, in place of what the task has had; answers it. Raises StepFailed."""
        size = 0 if output is None else output.size
        left = self._left + self._sizes.get(task, 0) - size
        if left < 0:
            raise StepFailed(
                f"with its output of {size} bytes the run's outputs have more than "
                f"{RUN_BYTES_MAX // 2**20} MiB together: write what is large into files and answer "
                "their names",
                is_final=True,
            )
        self._left, self._sizes[task] = left, size
        return output


def _size(state: Task) -> int:
    return sum(each.size for each in (state.output, state.last) if isinstance(each, Unread))


def written(text: str) -> str:
    """As every database takes it: without zero bytes, and halves of characters as `?`."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def stored(database: Database, output: Any) -> Unread:
    """What the row holds."""
    said = output if isinstance(output, Unread) else unread(output)
    if said.is_apart or said.size <= ROW_BYTES_MAX:
        return said
    kept = reference(sha256(said.text.encode()).hexdigest(), said.size)
    database.execute(sql("put_blob"), (kept.text, said.text))
    return kept


def loaded(text: Value) -> Unread | None:
    """Of a column, as it stands there."""
    return None if text is None else Unread(str(text))


def whole(database: Database, said: Unread) -> Unread:
    """The same with its text, wherever that is kept."""
    if not said.is_apart:
        return said
    ((body,),) = database.rows("select body from blobs where id = ?", (said.text,))
    return Unread(str(body))
