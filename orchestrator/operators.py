"""Operators of templates, on JSON values: what would be large is refused before it is made.

Pure.
"""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import nodes

from orchestrator.effort import Effort, TemplateFailed, kind_of, sane

BITS_MAX = 140
"""Of a power, a little more than the largest number has."""
_Number = int | float


def combined(effort: Effort, node: type[nodes.Node], left: Any, right: Any) -> Any:
    """`left + right` and its like. Raises TemplateFailed."""
    sign, compute = BINARY[node]
    if isinstance(left, _Number) and isinstance(right, _Number):
        if sign == "**":
            _power_fits(left, right)
        try:
            return sane(compute(sane(left), sane(right)))
        except ZeroDivisionError:
            raise TemplateFailed(f"{left} {sign} {right}: a division by zero") from None
        except OverflowError:
            raise TemplateFailed(f"{left} {sign} {right} is too large") from None
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        effort.fits(len(left) + len(right))
        return effort.bounded(left + right)
    if sign == "+" and isinstance(left, list) and isinstance(right, list):
        effort.spend(len(left) + len(right))
        return left + right
    if sign == "*":
        if isinstance(left, str | list) and isinstance(right, int):
            return _repeated(effort, left, right)
        if isinstance(right, str | list) and isinstance(left, int):
            return _repeated(effort, right, left)
    hint = ": to join texts use ~, to fill them in use format" if sign in "+%" else ""
    raise TemplateFailed(f"{kind_of(left)} {sign} {kind_of(right)} is nothing{hint}")


def _power_fits(base: _Number, exponent: _Number) -> None:
    if isinstance(base, int) and isinstance(exponent, int):
        bits = abs(base).bit_length() * abs(exponent)
        if abs(base) > 1 and bits > BITS_MAX:
            raise TemplateFailed("a number has too many digits")


def _repeated(effort: Effort, value: str | list[Any], times: int) -> Any:
    times = max(0, times) if value else 0
    length = len(value) * times
    if isinstance(value, str):
        effort.fits(length)
        return effort.bounded(value * times)
    effort.spend(length)
    return value * times


BINARY: Mapping[type[nodes.Node], tuple[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        nodes.Add: ("+", operator.add),
        nodes.Sub: ("-", operator.sub),
        nodes.Mul: ("*", operator.mul),
        nodes.Div: ("/", operator.truediv),
        nodes.FloorDiv: ("//", operator.floordiv),
        nodes.Mod: ("%", operator.mod),
        nodes.Pow: ("**", operator.pow),
    }
)


def compared(effort: Effort, sign: str, left: Any, right: Any) -> bool:
    """`left == right` and its like, by Jinja2's names of them. Raises TemplateFailed."""
    effort.measure(left)
    effort.measure(right)
    try:
        return bool(_COMPARISONS[sign](left, right))
    except TypeError:
        raise TemplateFailed(f"{kind_of(left)} and {kind_of(right)} do not compare") from None


def _is_in(left: Any, right: Any) -> bool:
    if isinstance(right, Mapping):
        return isinstance(left, str) and left in right
    return left in right


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "eq": operator.eq,
        "ne": operator.ne,
        "gt": operator.gt,
        "gteq": operator.ge,
        "lt": operator.lt,
        "lteq": operator.le,
        "in": _is_in,
        "notin": lambda left, right: not _is_in(left, right),
    }
)
