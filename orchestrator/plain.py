"""What a definition may be made of: the values that JSON has, in sane numbers and depths."""

from math import isfinite

from orchestrator.problems import Place, Problem

DEPTH_MAX = 64
VALUES_MAX = 500_000
WHOLE_MAX = 10**40
"""Beyond every number that a definition may have, and short enough for a message."""


def not_plain(document: object) -> Problem | None:
    """Something in it that JSON does not have, or that is too deep, too long or too much."""
    waiting: list[tuple[Place, object]] = [((), document)]
    seen = 0
    while waiting:
        place, value = waiting.pop()
        seen += 1
        if len(place) > DEPTH_MAX:
            return Problem(place, f"nested deeper than {DEPTH_MAX} levels")
        if seen > VALUES_MAX:
            return Problem((), f"a definition has at most {VALUES_MAX} values")
        if isinstance(value, dict):
            for name, each in value.items():
                if wrong := _wrong_name(name):
                    return Problem(place, wrong)
                waiting.append(((*place, name), each))
        elif isinstance(value, list | tuple):
            waiting += [((*place, index), each) for index, each in enumerate(value)]
        elif wrong := _wrong_scalar(value):
            return Problem(place, wrong)
    return None


def _wrong_name(name: object) -> str:
    if not isinstance(name, str):
        return "the name of a field is a text: write it in quotes"
    return _wrong_scalar(name)


def _wrong_scalar(value: object) -> str:
    """What is wrong with it; empty where nothing is."""
    match value:
        case str():
            is_unicode = value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
            return "" if is_unicode else "a text has half of a surrogate pair: write the character"
        case int():
            return "" if -WHOLE_MAX < value < WHOLE_MAX else "a number has too many digits"
        case float():
            return "" if isfinite(value) else "a number is finite: nan and inf are none"
        case None:
            return ""
        case _:
            return "a value is a text, a number, true, false, null, a list or a mapping"
