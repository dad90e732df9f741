"""Two runs, step by step."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.progress import TASK_ENDED
from orchestrator.running.database import Database, sql
from orchestrator.running.rows import number
from orchestrator.running.showing import RunWhole, StepShown, whole

READ_CHARS_MAX = 16 * 1024**2
"""Of outputs that are not stored as the same text, in all."""
_ENTRIES_MAX = 2**31


@dataclass(frozen=True, slots=True)
class StepPair:
    """A step in both runs; None where a run's definition does not have it. `is_same`: whether both
    have said the same; None where one has said nothing, or they are too long to be looked at."""

    step: str
    left: StepShown | None
    right: StepShown | None
    is_same: bool | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Steps in the order of the left run, then those that only the right one has."""

    left: RunWhole
    right: RunWhole
    steps: tuple[StepPair, ...]


def compare(database: Database, organisation: str, left: str, right: str) -> Comparison:
    """`organisation`: empty for any. Raises NoSuchRun."""
    one, other = (whole(database, organisation, each) for each in (left, right))
    looking = _Looking(database, left, right)
    return Comparison(one, other, tuple(_pairs(one, other, looking)))


def _pairs(one: RunWhole, other: RunWhole, looking: "_Looking") -> Iterator[StepPair]:
    ones, others = ({each.id: each for each in run.steps} for run in (one, other))
    for name in dict.fromkeys((*ones, *others)):
        a, b = ones.get(name), others.get(name)
        have_ended = all(each is not None and each.status in TASK_ENDED for each in (a, b))
        yield StepPair(name, a, b, looking.is_same(name) if have_ended else None)


class _Looking:
    """At outputs of two runs, up to a bound."""

    def __init__(self, database: Database, left: str, right: str) -> None:
        self._database = database
        self._runs = (left, right)
        self._left = READ_CHARS_MAX

    def is_same(self, step: str) -> bool | None:
        """Of a step that has ended in both. The same values may be different texts."""
        rows = self._database.rows
        one, other = (rows(sql("stored_of"), (run, step)) for run in self._runs)
        if one == other:
            return True
        if [entry for entry, _ in one] != [entry for entry, _ in other]:
            return False
        sizes = (rows(sql("output_bytes"), (run, step))[0][0] for run in self._runs)
        self._left -= sum(number(each) for each in sizes)
        if self._left < 0:
            return None
        return self._values(self._runs[0], step) == self._values(self._runs[1], step)

    def _values(self, run: str, step: str) -> list[object]:
        rows = self._database.rows(sql("outputs_of"), (run, step, -1, _ENTRIES_MAX))
        return [
            None if text is None else json.loads(str(text))
            for _, status, text in rows
            if status != "fanned"
        ]
