"""What pydantic says of a definition's form, in the words of whoever wrote it."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import islice
from types import MappingProxyType
from typing import Any

from orchestrator.problems import PROBLEMS_MAX, Place, Problem, nearest

_NAME_CHARS_SHOWN = 64
_MAPPING = "expected a mapping of names to values"
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "dict_type": _MAPPING,
        "model_type": _MAPPING,
        "model_attributes_type": _MAPPING,
        "tuple_type": "expected a list",
        "string_type": "expected a text: write it in quotes",
        "string_too_short": "may not be empty",
        "int_type": "expected a whole number",
        "float_type": "expected a number",
        "bool_type": "expected true or false",
    }
)


def form_problems(
    errors: Sequence[Any],
    fields_at: Callable[[Place], Set[str]],
    patterns: Mapping[str, str],
) -> list[Problem]:
    """Of pydantic's ErrorDetails. `fields_at`: the known fields of the mapping at a place;
    `patterns`: what a text is that matches one."""
    told = islice(_meant(errors), PROBLEMS_MAX)
    return [_problem(each, fields_at, patterns) for each in told]


def _meant(errors: Sequence[Any]) -> Iterator[Any]:
    """Without "too short" for a list whose entries are wrong: pydantic counts the others only."""
    around: set[Place] = set()
    for each in errors:
        place = each["loc"]
        if each["type"] == "too_short" and place in around:
            continue
        around.update(place[:length] for length in range(len(place)))
        yield each


def _problem(
    error: Any,  # pydantic's ErrorDetails
    fields_at: Callable[[Place], Set[str]],
    patterns: Mapping[str, str],
) -> Problem:
    place = _place(error["loc"])
    name = _called(place)
    kind = error["type"]
    match kind:
        case "extra_forbidden":
            known = sorted(fields_at(place[:-1]))
            return Problem(place, f"unknown field {name}{nearest(name, known)}")
        case "missing":
            return Problem(place[:-1], f"{name} is missing{_hint(name)}")
        case "value_error":
            return Problem(place, str(error["ctx"]["error"]))
        case "string_pattern_mismatch":
            pattern = error["ctx"]["pattern"]
            return Problem(place, f"{name} {patterns.get(pattern, f'must match {pattern}')}")
        case "too_short":
            return Problem(place, f"{name} has at least {error['ctx']['min_length']}")
        case "too_long":
            return Problem(place, f"{name} has at most {error['ctx']['max_length']}")
        case _:
            message = _WORDS.get(kind) or error["msg"]
            return Problem(place, f"{name}: {message[0].lower()}{message[1:]}")


def _called(place: Place) -> str:
    match place:
        case (*_, str(name)):
            return name[:_NAME_CHARS_SHOWN]
        case (*_, int(index)):
            return f"entry {index + 1}"
        case _:
            return "the definition"


def _place(loc: tuple[str | int, ...]) -> Place:
    """Without what the model has, and the document has not: the step's `action` around its kind,
    and the mark of a key."""
    if loc[:1] == ("steps",) and loc[2:3] == ("action",):
        loc = loc[:2] + loc[3:]
    return loc[:-1] if loc[-1:] == ("[key]",) else loc


def _hint(name: str) -> str:
    return ": no run goes without one, as in [{usd: '2.00'}]" if name == "budget" else ""
