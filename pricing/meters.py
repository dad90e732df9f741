"""Token counters that do not overlap, and how a provider's usage object becomes them.

Providers report counters that contain each other (cached tokens inside prompt tokens, reasoning
inside completion tokens), each with its own nesting. A price can only be applied to counters of
which every token is in exactly one, so the nesting is resolved here, once, before any money is
computed. A usage object comes from the network: whatever is not a plausible count is refused, and
the caller books the reservation instead of a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass

TOKENS_MAX = 10**9
"""Most tokens of one kind that one request can have; more is a broken or hostile usage object."""

_SHOWN_CHARS_MAX = 40


class UsageInvalid(ValueError):  # the product's word for it, used in events
    """A usage object that cannot be metered; the message names the field and the reason.

    What to do: book the whole reservation and record the usage as unknown.
    """


@dataclass(frozen=True, slots=True)
class Meters:
    """What one request used: disjoint counters, each an int >= 0 (tokens; `tool_calls` calls).

    `cache_write_1h` holds every write that lives longer than the shortest (Anthropic's one hour,
    OpenAI's twelve hours). Raises ValueError for anything but a non-negative int.
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

    def __post_init__(self) -> None:
        for name in _METER_NAMES:
            count = getattr(self, name)
            if type(count) is not int or count < 0:
                raise ValueError(f"meter {name} must be an int >= 0, not {_shown(count)}")

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
        )

    @property
    def output_tokens(self) -> int:
        """All output of all choices, reasoning included."""
        return self.text_output + self.reasoning_output + self.audio_output

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


_METER_NAMES = tuple(Meters.__slots__)


def meters_from_openai_chat(usage: Mapping[str, object]) -> Meters:
    """Meters of an OpenAI chat-completions `usage` object.

    `prompt_tokens` contains the counters of `prompt_tokens_details` (`cached_tokens`,
    `cache_write_tokens`, `audio_tokens`, `image_tokens`), `completion_tokens` those of
    `completion_tokens_details` (`reasoning_tokens`, `audio_tokens`). Source: OpenAI's API
    reference, "The chat completion object", and its guide "Prompt caching".
    Absent or null details are zero. Raises UsageInvalid.
    """
    if not isinstance(usage, Mapping):
        raise UsageInvalid(f"usage must be an object, not {_shown(usage)}")
    prompt = _count(usage, "prompt_tokens", required=True)
    completion = _count(usage, "completion_tokens", required=True)
    total = _count(usage, "total_tokens")
    text, cached, write_5m, write_1h, audio, image = _input_split(usage, prompt)
    text_out, reasoning, audio_out = _output_split(usage, completion, total - prompt - completion)
    return Meters(
        text_input=text,
        cached_input=cached,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        audio_input=audio,
        image_input=image,
        text_output=text_out,
        reasoning_output=reasoning,
        audio_output=audio_out,
    )


def _input_split(usage: Mapping[str, object], prompt: int) -> tuple[int, int, int, int, int, int]:
    """(text, cached, write 5m, write 1h, audio, image) that sum to `prompt`.

    Cached tokens can be audio or image tokens too (the details overlap). The dearer meter gets
    the token: audio first, then writes, then images, then the cache.
    """
    details = _details(usage, "prompt_tokens_details")
    cached = _part(details, "cached_tokens", prompt)
    audio = _part(details, "audio_tokens", prompt)
    image = _part(details, "image_tokens", prompt)
    write_1h, write_5m = _writes(details, prompt)
    left = prompt - audio
    write_1h = min(write_1h, left)
    left -= write_1h
    write_5m = min(write_5m, left)
    left -= write_5m
    image = min(image, left)
    left -= image
    cached = min(cached, left)
    return left - cached, cached, write_5m, write_1h, audio, image


def _writes(details: "_Details", prompt: int) -> tuple[int, int]:
    """(long-lived, short-lived) cache writes. Servers name them in two ways; the larger counts."""
    written = max(
        _part(details, "cache_write_tokens", prompt),
        _part(details, "cache_creation_tokens", prompt),
    )
    lifetimes = _details(details.values, "cache_write_tokens_details", details.path)
    long_lived = _part(lifetimes, "ttl_12h_tokens", written, "the tokens written")
    return long_lived, written - long_lived


def _output_split(
    usage: Mapping[str, object], completion: int, unseen: int
) -> tuple[int, int, int]:
    """(text, reasoning, audio) output.

    `unseen` is what `total_tokens` has beyond prompt and completion. Servers that keep reasoning
    out of `completion_tokens` still have it in the total (xAI's chat API; Google's
    OpenAI-compatible endpoint, without any details): it is billed, so it is metered as reasoning.
    """
    details = _details(usage, "completion_tokens_details")
    output = completion + max(unseen, 0)
    reasoning = max(_part(details, "reasoning_tokens", output), unseen, 0)
    audio = _part(details, "audio_tokens", completion)
    if reasoning + audio > output:
        raise UsageInvalid(
            f"completion_tokens_details: reasoning_tokens {reasoning} and audio_tokens {audio} "
            f"are together more than the {output} tokens of output"
        )
    return output - reasoning - audio, reasoning, audio


@dataclass(frozen=True, slots=True)
class _Details:
    """A nested object of counters, with the path that error messages show."""

    path: str
    values: Mapping[str, object]


_NO_DETAILS = _Details("", {})


def _details(parent: Mapping[str, object], key: str, parent_path: str = "") -> _Details:
    """The nested object under `key`; empty when it is absent or null."""
    value = parent.get(key)
    if value is None:
        return _NO_DETAILS
    path = f"{parent_path}{key}."
    if not isinstance(value, Mapping):
        raise UsageInvalid(f"{path[:-1]} must be an object or null, not {_shown(value)}")
    return _Details(path, value)


def _part(details: _Details, key: str, whole: int, whole_name: str = "its total") -> int:
    """A counter that is contained in another one."""
    if key not in details.values:
        return 0
    count = _count(details.values, key, details.path)
    if count > whole:
        raise UsageInvalid(f"{details.path}{key} is {count}, more than {whole_name}, {whole}")
    return count


def _count(
    values: Mapping[str, object], key: str, path: str = "", *, required: bool = False
) -> int:
    """A plausible token count; 0 for an absent or null optional one."""
    value = values.get(key)
    if value is None and not required:
        return 0
    if value is None:
        raise UsageInvalid(f"{path}{key} is missing")
    if type(value) is not int:
        raise UsageInvalid(f"{path}{key} must be a whole number, not {_shown(value)}")
    if value < 0:
        raise UsageInvalid(f"{path}{key} is negative")
    if value > TOKENS_MAX:
        raise UsageInvalid(f"{path}{key} is above TOKENS_MAX = {TOKENS_MAX}")
    return value


def _shown(value: object) -> str:
    """A short description for a message: a hostile value must not flood a log or fail to print."""
    kind = type(value).__name__
    if isinstance(value, (str, float, bool)):
        return f"{kind} {str(value)[:_SHOWN_CHARS_MAX]!r}"
    return kind
