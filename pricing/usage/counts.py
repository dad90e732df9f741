"""Reading counters out of a usage object that came from the network.

Whatever is not a plausible count is refused, and the caller books the reservation instead of a
guess. Absent and null are zero: providers leave out what did not happen.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pricing.meters import TOKENS_MAX, UsageInvalid

_SHOWN_CHARS_MAX = 40
ITEMS_MAX = 10_000
"""Most items of a list in an answer that are looked at: more is refused."""

Output = Sequence[Mapping[str, object]] | None
"""The items of an answer that a provider bills by the call, where its usage does not count them."""


class Counters(NamedTuple):
    """An object of counters. `path` is what error messages show before a key. A named tuple: it is
    made three times for each answer, and a frozen dataclass takes thrice as long."""

    values: Mapping[str, object]
    path: str = ""

    def count(self, key: str, *, required: bool = False) -> int:
        """A plausible count; 0 for an absent or null optional one. Raises UsageInvalid."""
        value = self.values.get(key)
        if value is None and not required:
            return 0
        if value is None:
            raise UsageInvalid(f"{self.path}{key} is missing")
        if type(value) is not int:
            raise UsageInvalid(f"{self.path}{key} must be a whole number, not {shown(value)}")
        if value < 0:
            raise UsageInvalid(f"{self.path}{key} is negative")
        if value > TOKENS_MAX:
            raise UsageInvalid(f"{self.path}{key} is above TOKENS_MAX = {TOKENS_MAX}")
        return value

    def part(self, key: str, whole: int, whole_name: str = "its total") -> int:
        """A counter that is contained in another one."""
        if key not in self.values:
            return 0
        count = self.count(key)
        if count > whole:
            raise UsageInvalid(f"{self.path}{key} is {count}, more than {whole_name}, {whole}")
        return count

    def largest_part(self, keys: Sequence[str], whole: int) -> int:
        """One counter that servers name in several ways: the largest that is given."""
        largest = 0
        for key in keys:
            if key in self.values:
                largest = max(largest, self.part(key, whole))
        return largest

    def inside(self, key: str) -> "Counters":
        """The nested object under `key`; empty when it is absent or null."""
        value = self.values.get(key)
        if value is None:
            return _NOTHING
        path = f"{self.path}{key}."
        if not isinstance(value, Mapping):
            raise UsageInvalid(f"{path[:-1]} must be an object or null, not {shown(value)}")
        return Counters(value, path)

    def items(self, key: str) -> "list[Counters]":
        """The objects in the list under `key`; none when it is absent or null."""
        value = self.values.get(key)
        if value is None:
            return []
        path = f"{self.path}{key}"
        if not isinstance(value, list) or len(value) > ITEMS_MAX:
            raise UsageInvalid(f"{path} must be a list of at most {ITEMS_MAX} objects, or null")
        return [counters(item, f"{path}[{at}]") for at, item in enumerate(value)]

    def text(self, key: str) -> str:
        """A short text; "" when it is absent or null."""
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise UsageInvalid(f"{self.path}{key} must be text, not {shown(value)}")
        return value


_NOTHING = Counters({})


def counters(usage: object, name: str = "usage") -> Counters:
    """An object of counters; `name` is what messages call it. Raises UsageInvalid."""
    if not isinstance(usage, Mapping):
        raise UsageInvalid(f"{name} must be an object, not {shown(usage)}")
    return Counters(usage, "" if name == "usage" else f"{name}.")


def shown(value: object) -> str:
    """A short description for a message: a hostile value must not flood a log or fail to print."""
    kind = type(value).__name__
    if isinstance(value, (str, float, bool)):
        return f"{kind} {str(value)[:_SHOWN_CHARS_MAX]!r}"
    return kind


def calls_by_kind(calls: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """What was called at all, sorted by kind: as `Facts.tools` has it."""
    return tuple(sorted((kind, count) for kind, count in calls.items() if count))
