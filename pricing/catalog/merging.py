"""One `model_info` of two opinions: of each key the dearer value, and what they differ in.

Neither list is right everywhere. A price that is too high refuses a request that would have fitted;
one that is too low overspends in silence: so the dearer one is taken and the difference is told.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pricing.catalog.info import FRAMING, LIMITS, decimal_text, is_money, number

_THRESHOLD = re.compile(r"_above_[0-9]+k?_tokens")
_LARGER_IS_SAFER = (*LIMITS, *FRAMING)


DEARER = "dearer"
"""Why a value counts that nobody has decided."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One key on which opinions differ. `said`: (who, value) each, `none` where a list has no such
    price; `taken`: the value that counts; `because`: DEARER, or why a row of ours decides."""

    key: str
    said: tuple[tuple[str, str], ...]
    taken: str
    because: str = DEARER


def merged(
    first: tuple[str, Mapping[str, object]], second: tuple[str, Mapping[str, object]]
) -> tuple[dict[str, object], tuple[Disagreement, ...]]:
    """(the `model_info` that is never cheaper than either, what they disagree on)."""
    (name, one), (other_name, other) = first, second
    info: dict[str, object] = {}
    disagreements: list[Disagreement] = []
    for key in {**one, **other}:
        said = (_effective(one, key), _effective(other, key))
        info[key] = _dearer(key, *said)
        if is_money(key) and _differ(*said):
            named = ((name, shown(said[0])), (other_name, shown(said[1])))
            disagreements.append(Disagreement(key, named, shown(info[key])))
    return info, tuple(disagreements)


def _effective(info: Mapping[str, object], key: str) -> object:
    """What a list says of a key. A long-context rate that it lacks is its rate without one."""
    if key not in info and _THRESHOLD.search(key):
        return info.get(_THRESHOLD.sub("", key))
    return info.get(key)


def _dearer(key: str, one: object, other: object) -> object:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {name: _dearer(key, one.get(name), other.get(name)) for name in {**one, **other}}
    numbers = number(one), number(other)
    if numbers[0] is not None and numbers[1] is not None:
        larger = max(numbers[0], numbers[1])
        if key in _LARGER_IS_SAFER:
            return int(larger)
        return decimal_text(larger) if is_money(key) else one
    return one


def _differ(one: object, other: object) -> bool:
    """Whether both say something, and not the same."""
    if one is None or other is None:
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return any(_differ(one.get(name), other.get(name)) for name in one)
    numbers = number(one), number(other)
    return numbers[0] != numbers[1] if None not in numbers else one != other


def shown(value: object) -> str:
    """A value of `model_info` as people read it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(each)}" for name, each in value.items())
    found = number(value)
    return "none" if value is None else decimal_text(found) if found is not None else str(value)
