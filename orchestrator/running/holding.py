"""Why a task is held, as its row has it: nothing has failed, and another attempt comes."""

from dataclasses import replace

import msgspec

from orchestrator.progress import Task


class Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    """`is_timed`: the time of its step goes on, from when the first of the attempts that were held
    has begun."""

    is_timed: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Holding).decode


def holding_of(task: Task) -> Holding:
    """Of a task that waits for another attempt."""
    return _decode(task.held) if task.held else Holding()


def held_with(task: Task, holding: Holding) -> Task:
    """The task, which waits for that reason."""
    return replace(task, held=_encode(holding).decode())
