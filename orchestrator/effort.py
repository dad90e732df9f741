"""What the rendering of one step's templates may take: work that is counted, not time.

A template is rendered on the event loop, where nothing can interrupt it from outside; and a count,
other than a clock, ends the same template with the same data at the same place on every machine.
All that a template does is paid before it is done. Pure.
"""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.plain import WHOLE_MAX

WORK_MAX = 2_000_000
"""About 0.3 s on one core. A visited node costs NODE_WORK, an entry of a list 1, a text 1 for each
CHARS_PER_WORK."""
NODE_WORK = 8
MEASURE_WORK = 3
CHARS_PER_WORK = 64
TEXT_CHARS_MAX = 1_000_000
"""Of a text that is rendered, or made on the way."""
VALUE_CHARS_MAX = 16_000_000
"""Of a value (`{{ steps.search.output }}` alone), written as JSON."""


class TemplateFailed(ValueError):
    """It cannot be rendered with what the run has; the message says why, and where."""


class Effort:
    """What is left of the work."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WORK_MAX

    def spend(self, work: int) -> None:
        """Before it is done. Raises TemplateFailed."""
        self.left -= work
        if self.left < 0:
            raise TemplateFailed(
                "too much work for a template: loop over less, or do it in a step of its own"
            )

    def spend_on(self, value: Any) -> None:
        """To look at every entry of a value once, but not into them. Raises TemplateFailed."""
        if isinstance(value, str):
            self.spend(1 + len(value) // CHARS_PER_WORK)
        elif isinstance(value, list | tuple | Mapping):
            self.spend(1 + len(value))

    def measure(self, value: Any) -> int:
        """The characters of a JSON value, about; paid for every entry at every depth, so that one
        which holds itself a thousandfold (`[a, a]` of `[b, b]` of ...) is not looked through.
        Raises TemplateFailed, also for what is no JSON value."""
        waiting, chars = [value], 0
        while waiting:
            each = waiting.pop()
            self.spend(MEASURE_WORK)
            self.spend_on(each)
            match each:
                case str():
                    chars += len(each) + 2
                case list() | tuple():
                    chars += 2 + 2 * len(each)
                    waiting += each
                case Mapping():
                    chars += 2 + 4 * len(each)
                    waiting += each.keys()
                    waiting += each.values()
                case None | bool() | int() | float():
                    chars += 8
                case _:
                    raise TemplateFailed(f"{kind_of(each)} is no value of JSON")
        return chars

    def text_of(self, value: Any) -> str:
        """As it stands in a text: lists and mappings as JSON, true and false, nothing for null.
        Raises TemplateFailed."""
        if isinstance(value, str):
            text = value
        elif value is None:
            return ""
        elif isinstance(value, bool):
            return "true" if value else "false"
        elif isinstance(value, int | float):
            return str(value)
        else:
            text = self.json_of(value)
        return self.bounded(text)

    def json_of(self, value: Any, indent: int | None = None) -> str:
        """Raises TemplateFailed."""
        self.fits(self.measure(value))
        try:
            text = json.dumps(
                value, ensure_ascii=False, allow_nan=False, indent=indent, default=_plain
            )
        except (ValueError, RecursionError):
            raise TemplateFailed("a value is nan, infinite, or nested too deeply") from None
        return self.bounded(text)

    def bounded(self, text: str) -> str:
        """The same text, paid for. Raises TemplateFailed where it is too long."""
        self.fits(len(text))
        self.spend(1 + len(text) // CHARS_PER_WORK)
        return text

    def fits(self, chars: int) -> None:
        """Before a text of that length is made. Raises TemplateFailed."""
        if chars > TEXT_CHARS_MAX:
            raise TemplateFailed(
                f"a rendered text has at most {TEXT_CHARS_MAX} characters: put what is longer into "
                "a file, and its name into the template"
            )


def _plain(value: Any) -> Any:
    """Of a mapping that is no dict."""
    assert isinstance(value, Mapping)
    return dict(value)


def sane(number: Any) -> Any:
    """A number that came out of an operation. Raises TemplateFailed."""
    if isinstance(number, int) and not -WHOLE_MAX < number < WHOLE_MAX:
        raise TemplateFailed("a number has too many digits")
    if not isinstance(number, int | float):  # a root of what is negative is complex
        raise TemplateFailed("the result is no number")
    return number


def kind_of(value: Any) -> str:
    """As people call it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case _:
            return type(value).__name__
