"""Counters that do not overlap: what a price is applied to.

Providers report counters that contain each other (cached tokens inside prompt tokens, reasoning
inside completion tokens), each with its own nesting. A price can only be applied to counters of
which every token is in exactly one. `pricing.usage` resolves the nesting, once, before any money is
computed; what it makes is defined here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import add, attrgetter, sub

TOKENS_MAX = 10**9
"""Most tokens of one kind that one request can have; more is a broken or hostile usage object."""


class UsageInvalid(ValueError):  # the product's word for it, used in events
    """A usage object that cannot be metered; the message names the field and the reason.

    What to do: book the whole reservation and record the usage as unknown.
    """


@dataclass(frozen=True, slots=True)
class Meters:
    """What one request used: disjoint counters, each an int >= 0.

    Tokens, but for the last ones: `tool_calls` and `search_calls` are calls of tools that the
    provider runs and bills by the call, `audio_ms` is sound that is billed by its length, `pages`
    are pages read, `characters` those of a text to speak. `cache_write_1h` holds every write that
    lives longer than the shortest (Anthropic's one hour, OpenAI's twelve hours). Raises ValueError
    for anything but a non-negative int.
    """

    text_input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    text_output: int = 0
    reasoning_output: int = 0
    audio_output: int = 0
    tool_calls: int = 0
    video_input: int = 0
    image_output: int = 0
    search_calls: int = 0
    audio_ms: int = 0
    pages: int = 0
    characters: int = 0

    def __post_init__(self) -> None:
        for count in _counts(self):
            if type(count) is not int or count < 0:
                self._refuse()

    @property
    def input_tokens(self) -> int:
        """All input, cached and cache writes included: what long-context tiers look at."""
        return (
            self.text_input
            + self.cached_input
            + self.cache_write_5m
            + self.cache_write_1h
            + self.audio_input
            + self.image_input
            + self.video_input
        )

    @property
    def output_tokens(self) -> int:
        """All output of all choices, reasoning included."""
        return self.text_output + self.reasoning_output + self.audio_output + self.image_output

    @property
    def only_tokens(self) -> bool:
        """Whether nothing was used that is billed by something else."""
        return not (
            self.tool_calls or self.search_calls or self.audio_ms or self.pages or self.characters
        )

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: "Meters") -> "Meters":
        """Both together, meter by meter."""
        return self._each(add, other)

    def minus(self, other: "Meters") -> "Meters":
        """What is left without `other`, which is a part of it. Raises ValueError if it is not."""
        return self._each(sub, other)

    def _refuse(self) -> None:
        for name, count in zip(_METER_NAMES, _counts(self), strict=True):
            if type(count) is not int or count < 0:
                raise ValueError(f"meter {name} must be an int >= 0, not {type(count).__name__}")

    def _each(self, operation: Callable[[int, int], int], other: "Meters") -> "Meters":
        return Meters(*map(operation, _counts(self), _counts(other)))


_METER_NAMES = tuple(Meters.__slots__)
_counts = attrgetter(*_METER_NAMES)
