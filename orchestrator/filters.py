"""Filters and methods of templates: Jinja2's of the same names, on JSON values. Pure.

Only what is here exists: the same value always gives the same, and nothing grows before it is paid.
Each takes the effort, then what it is applied to. Raises TemplateFailed.
"""

import re
from collections.abc import Callable, Mapping
from math import ceil, floor
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from orchestrator.effort import NODE_WORK, Effort, TemplateFailed, kind_of, sane
from orchestrator.predicates import TESTS

Filter = Callable[..., Any]
INDENT_MAX = 100
PLACES_MAX = 15
DIGITS_MAX = 45
DIRECTIVE_CHARS_MAX = 1_400
"""Of one number: `%.999f` of the largest."""
# One directive: its width and places are at most three digits, so that it cannot ask for gigabytes.
_DIRECTIVE = re.compile(r"%(?:%|[-+ #0]{0,5}\d{0,3}(?:\.\d{0,3})?[sdifgeEGxXo])")


def list_of(effort: Effort, value: Any) -> list[Any]:
    """What a loop goes through: entries, names of a mapping, characters. Raises TemplateFailed."""
    effort.spend_on(value)
    if isinstance(value, str):
        effort.spend(len(value))
    elif not isinstance(value, list | tuple | Mapping):
        raise TemplateFailed(f"{kind_of(value)} is no list")
    return list(value)


def field_of(value: Any, path: str | int) -> Any:
    """`a.b` of a mapping of mappings. Raises TemplateFailed."""
    for name in str(path).split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise TemplateFailed(f"{kind_of(value)} has no field {name[:64]}")
    return value


def _fields(effort: Effort, value: Any, attribute: str | int | None) -> list[Any]:
    entries = list_of(effort, value)
    if attribute is None:
        return entries
    effort.spend(len(entries) * (1 + str(attribute).count(".")))
    return [field_of(each, attribute) for each in entries]


def _of_text(change: Callable[[str], str]) -> Filter:
    def apply(effort: Effort, value: Any) -> str:
        return effort.bounded(change(effort.text_of(value)))

    return apply


def _default(effort: Effort, value: Any, default: Any = "", boolean: bool = False) -> Any:
    return default if boolean and not value else value


def _length(effort: Effort, value: Any) -> int:
    if not isinstance(value, str | list | tuple | Mapping):
        raise TemplateFailed(f"{kind_of(value)} has no length")
    return len(value)


def _first(effort: Effort, value: Any) -> Any:
    return _entry(list_of(effort, value), 0)


def _last(effort: Effort, value: Any) -> Any:
    return _entry(list_of(effort, value), -1)


def _entry(entries: list[Any], index: int) -> Any:
    if not entries:
        raise TemplateFailed("the list is empty: it has no first and no last")
    return entries[index]


def _reverse(effort: Effort, value: Any) -> Any:
    entries = list_of(effort, value)[::-1]
    return "".join(entries) if isinstance(value, str) else entries


def _join(effort: Effort, value: Any, d: Any = "", attribute: str | None = None) -> str:
    texts = [effort.text_of(each) for each in _fields(effort, value, attribute)]
    between = effort.text_of(d)
    effort.fits(sum(len(each) for each in texts) + len(between) * len(texts))
    return effort.bounded(between.join(texts))


def _replace(effort: Effort, value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, before, after = (effort.text_of(each) for each in (value, old, new))
    times = text.count(before) if count < 0 else min(count, text.count(before))
    effort.fits(len(text) + times * max(0, len(after) - len(before)))
    return effort.bounded(text.replace(before, after, count))


def _indent(
    effort: Effort, value: Any, width: int = 4, first: Any = False, blank: Any = False
) -> str:
    text = effort.text_of(value)
    if not 0 <= width <= INDENT_MAX:
        raise TemplateFailed(f"indent takes 0 to {INDENT_MAX}")
    lines = text.splitlines()
    effort.spend(len(lines))
    effort.fits(len(text) + width * len(lines))
    margin = " " * width
    shifted = [margin + each if blank or each else each for each in lines]
    if lines and not first:
        shifted[0] = lines[0]
    return effort.bounded("\n".join(shifted))


def _truncate(
    effort: Effort,
    value: Any,
    length: int = 255,
    killwords: Any = False,
    end: str = "...",
    leeway: int = 5,
) -> str:
    text = effort.text_of(value)
    if len(text) <= length + leeway:
        return text
    cut = text[: max(0, length - len(end))]
    return effort.bounded((cut if killwords else cut.rsplit(" ", 1)[0]) + end)


def _format(effort: Effort, value: Any, *args: Any) -> str:
    text = effort.text_of(value)
    if "%" in _DIRECTIVE.sub("", text):
        raise TemplateFailed("format fills in %s, %d, %.2f and the like, of at most three digits")
    given = tuple(each if isinstance(each, int | float) else effort.text_of(each) for each in args)
    texts = sum(len(each) for each in given if isinstance(each, str))
    effort.fits(len(text) + texts + DIRECTIVE_CHARS_MAX * text.count("%"))
    return effort.bounded(text % given)


def _sortable(effort: Effort, value: Any, attribute: str | None, sensitive: Any) -> list[Any]:
    keys = _fields(effort, value, attribute)
    chars = effort.measure(keys)
    effort.spend((len(keys) + chars // 64) * len(keys).bit_length())
    return keys if sensitive else [each.lower() if isinstance(each, str) else each for each in keys]


def _sort(
    effort: Effort,
    value: Any,
    reverse: Any = False,
    case_sensitive: Any = False,
    attribute: str | None = None,
) -> list[Any]:
    keys, entries = _sortable(effort, value, attribute, case_sensitive), list_of(effort, value)
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=bool(reverse))
    return [entries[each] for each in order]


def _extreme(choose: Callable[..., int]) -> Filter:
    def apply(
        effort: Effort,
        value: Any,
        case_sensitive: Any = False,
        attribute: str | None = None,
    ) -> Any:
        keys, entries = _sortable(effort, value, attribute, case_sensitive), list_of(effort, value)
        return _entry([*entries], choose(range(len(keys)), key=keys.__getitem__)) if keys else None

    return apply


def _unique(
    effort: Effort,
    value: Any,
    case_sensitive: Any = False,
    attribute: str | None = None,
) -> list[Any]:
    found: dict[Any, Any] = {}
    keys = _sortable(effort, value, attribute, case_sensitive)
    for key, each in zip(keys, list_of(effort, value), strict=True):
        found.setdefault(effort.json_of(key) if isinstance(key, list | Mapping) else key, each)
    return list(found.values())


def _sum(effort: Effort, value: Any, attribute: str | None = None, start: Any = 0) -> Any:
    total = start
    for each in _fields(effort, value, attribute):
        if not isinstance(each, int | float):
            raise TemplateFailed(f"sum adds numbers, and there is {kind_of(each)}")
        total = sane(total + each)
    return total


def _int(effort: Effort, value: Any, default: Any = 0, base: int = 10) -> Any:
    effort.spend_on(value)
    try:
        if isinstance(value, str):
            text = value.strip()
            return int(text, base) if len(text) <= DIGITS_MAX else default
        return sane(int(value))
    except (ValueError, TypeError, OverflowError):
        pass
    try:
        return sane(int(float(value)))
    except (ValueError, TypeError, OverflowError):
        return default


def _float(effort: Effort, value: Any, default: Any = 0.0) -> Any:
    effort.spend_on(value)
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return default


def _round(effort: Effort, value: Any, precision: int = 0, method: str = "common") -> float:
    if not -PLACES_MAX <= precision <= PLACES_MAX or method not in ("common", "ceil", "floor"):
        raise TemplateFailed(f"round takes 0 to {PLACES_MAX} places, and common, ceil or floor")
    if method == "common":
        return float(round(value, precision))
    change = ceil if method == "ceil" else floor
    factor = 10.0**precision
    return float(change(value * factor) / factor)


def _batch(effort: Effort, value: Any, size: int) -> list[Any]:
    entries = list_of(effort, value)
    if size < 1:
        raise TemplateFailed("batch takes at least 1")
    return [entries[at : at + size] for at in range(0, len(entries), size)]


def _items(effort: Effort, value: Any) -> list[Any]:
    effort.spend_on(value)
    if not isinstance(value, Mapping):
        raise TemplateFailed(f"{kind_of(value)} has no items: a mapping has")
    return [[name, each] for name, each in value.items()]


def _tojson(effort: Effort, value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise TemplateFailed("tojson takes an indent of 0 to 8")
    return effort.json_of(value, indent)


def _map(effort: Effort, value: Any, name: str = "", /, *args: Any, **options: Any) -> list[Any]:
    entries = list_of(effort, value)
    effort.spend(len(entries) * (NODE_WORK + str(options.get("attribute", "")).count(".")))
    if "attribute" not in options:
        chosen = named(FILTERS, "filter", name)
        return [chosen(effort, each, *args, **options) for each in entries]
    found = []
    for each in entries:
        try:
            found.append(field_of(each, options["attribute"]))
        except TemplateFailed:
            if "default" not in options:
                raise
            found.append(options["default"])
    return found


def _chosen(keep: bool, by_field: bool) -> Filter:
    def apply(effort: Effort, value: Any, *args: Any) -> list[Any]:
        path, rest = (args[0], args[1:]) if by_field else (None, args)
        test = named(TESTS, "test", rest[0]) if rest else _truthy
        keys = _fields(effort, value, path)
        effort.spend(NODE_WORK * len(keys))
        pairs = zip(list_of(effort, value), keys, strict=True)
        return [each for each, key in pairs if bool(test(effort, key, *rest[1:])) is keep]

    return apply


def _truthy(effort: Effort, value: Any) -> bool:
    return bool(value)


def named(table: Mapping[str, Filter], what: str, name: Any) -> Filter:
    """One that another one is told to use. Raises TemplateFailed."""
    if not isinstance(name, str) or name not in table:
        raise TemplateFailed(f"there is no {what} {str(name)[:64]}")
    return table[name]


FILTERS: Mapping[str, Filter] = MappingProxyType(
    {
        "abs": lambda effort, value: abs(value),
        "batch": _batch,
        "capitalize": _of_text(str.capitalize),
        "count": _length,
        "d": _default,
        "default": _default,
        "first": _first,
        "float": _float,
        "format": _format,
        "indent": _indent,
        "int": _int,
        "items": _items,
        "join": _join,
        "last": _last,
        "length": _length,
        "list": list_of,
        "lower": _of_text(str.lower),
        "map": _map,
        "max": _extreme(max),
        "min": _extreme(min),
        "reject": _chosen(keep=False, by_field=False),
        "rejectattr": _chosen(keep=False, by_field=True),
        "replace": _replace,
        "reverse": _reverse,
        "round": _round,
        "select": _chosen(keep=True, by_field=False),
        "selectattr": _chosen(keep=True, by_field=True),
        "sort": _sort,
        "string": _of_text(str),
        "sum": _sum,
        "title": _of_text(str.title),
        "tojson": _tojson,
        "trim": _of_text(str.strip),
        "truncate": _truncate,
        "unique": _unique,
        "upper": _of_text(str.upper),
        "urlencode": _of_text(lambda text: quote(text, safe="/")),
        "wordcount": lambda effort, value: len(re.findall(r"\w+", effort.text_of(value))),
    }
)


def _split(effort: Effort, value: str, between: str | None = None, most: int = -1) -> list[str]:
    effort.spend(len(value))  # as many entries as that, at most
    return value.split(between, most)


def _lines(effort: Effort, value: str) -> list[str]:
    effort.spend(len(value))
    return value.splitlines()


def _get(effort: Effort, value: Any, name: Any, default: Any = None) -> Any:
    return value.get(name, default)


TEXT_METHODS: Mapping[str, Filter] = MappingProxyType(
    {
        "capitalize": FILTERS["capitalize"],
        "endswith": lambda effort, value, end: value.endswith(end),
        "join": lambda effort, value, entries: _join(effort, entries, value),
        "lower": FILTERS["lower"],
        "replace": _replace,
        "split": _split,
        "splitlines": _lines,
        "startswith": lambda effort, value, start: value.startswith(start),
        "strip": FILTERS["trim"],
        "title": FILTERS["title"],
        "upper": FILTERS["upper"],
    }
)
MAPPING_METHODS: Mapping[str, Filter] = MappingProxyType(
    {
        "get": _get,
        "items": _items,
        "keys": list_of,
        "values": lambda effort, value: list_of(effort, list(value.values())),
    }
)
