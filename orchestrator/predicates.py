"""Tests of templates (`is odd`): Jinja2's of the same names, on JSON values. Pure.

Each takes the effort, then what it is applied to. Raises TemplateFailed.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from orchestrator.effort import Effort
from orchestrator.operators import compared

Predicate = Callable[..., bool]


def _is(*types: type) -> Predicate:
    def apply(effort: Effort, value: Any) -> bool:
        return isinstance(value, types) and (bool in types or not isinstance(value, bool))

    return apply


def _comparing(sign: str) -> Predicate:
    def apply(effort: Effort, value: Any, other: Any) -> bool:
        return compared(effort, sign, value, other)

    return apply


def _divisible(effort: Effort, value: Any, by: Any) -> bool:
    return isinstance(value, int) and isinstance(by, int) and by != 0 and value % by == 0


def _signs() -> Iterable[tuple[str, Predicate]]:
    also = {
        "eq": ("==", "equalto"),
        "ne": ("!=",),
        "gt": (">", "greaterthan"),
        "gteq": (">=", "ge"),
        "lt": ("<", "lessthan"),
        "lteq": ("<=", "le"),
        "in": (),
    }
    for sign, others in also.items():
        for name in (sign, *others):
            yield name, _comparing(sign)


TESTS: Mapping[str, Predicate] = MappingProxyType(
    {
        **dict(_signs()),
        "boolean": _is(bool),
        "defined": lambda effort, value: True,
        "divisibleby": _divisible,
        "even": lambda effort, value: _divisible(effort, value, 2),
        "false": lambda effort, value: value is False,
        "float": _is(float),
        "integer": _is(int),
        "iterable": _is(str, list, tuple, Mapping),
        "lower": lambda effort, value: effort.text_of(value).islower(),
        "mapping": _is(Mapping),
        "none": lambda effort, value: value is None,
        "number": _is(int, float),
        "odd": lambda effort, value: isinstance(value, int) and not _divisible(effort, value, 2),
        "sequence": _is(str, list, tuple),
        "string": _is(str),
        "true": lambda effort, value: value is True,
        "undefined": lambda effort, value: False,
        "upper": lambda effort, value: effort.text_of(value).isupper(),
    }
)
