"""The nesting of OpenAI's token counters, which its chat completions and its responses share."""

from dataclasses import dataclass

from pricing.meters import Meters, UsageInvalid
from pricing.usage.counts import Counters

_WRITE_KEYS = ("cache_write_tokens", "cache_creation_tokens")


@dataclass(frozen=True, slots=True)
class Names:
    """What a surface calls the two sides. `cached`: keys beside the input count that repeat how
    many tokens came from a cache."""

    input: str
    input_details: str
    output: str
    output_details: str
    cached: tuple[str, ...] = ()


CHAT = Names(
    "prompt_tokens",
    "prompt_tokens_details",
    "completion_tokens",
    "completion_tokens_details",
    # DeepSeek's API reference, "Create Chat Completion"; Mistral's, `UsageInfo`.
    ("prompt_cache_hit_tokens", "num_cached_tokens"),
)
RESPONSES = Names("input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details")


def read_tokens(usage: Counters, names: Names) -> Meters:
    """The token meters of OpenAI's `usage`. Raises UsageInvalid."""
    prompt = usage.count(names.input, required=True)
    completion = usage.count(names.output, required=True)
    unseen = usage.count("total_tokens") - prompt - completion
    return Meters(
        **_input(usage, names, prompt), **_output(usage, names, completion, max(unseen, 0))
    )


def _input(usage: Counters, names: Names, prompt: int) -> dict[str, int]:
    """Cached tokens can be audio or image tokens too (the details overlap). The dearer meter gets
    the token: audio first, then writes, then video and images, then the cache."""
    details = usage.inside(names.input_details)
    write_1h, write_5m = _writes(details, prompt)
    wanted = {
        "audio_input": details.part("audio_tokens", prompt),
        "cache_write_1h": write_1h,
        "cache_write_5m": write_5m,
        "video_input": details.part("video_tokens", prompt),
        "image_input": details.part("image_tokens", prompt),
        "cached_input": max(
            details.part("cached_tokens", prompt), usage.largest_part(names.cached, prompt)
        ),
    }
    return share(prompt, wanted, "text_input")


def share(whole: int, wanted: dict[str, int], rest: str) -> dict[str, int]:
    """`whole` dealt out to meters in their order, none more than is left; the rest to `rest`."""
    dealt = {}
    for name, count in wanted.items():
        dealt[name] = min(count, whole)
        whole -= dealt[name]
    return {**dealt, rest: whole}


def _writes(details: Counters, prompt: int) -> tuple[int, int]:
    """(long-lived, short-lived) cache writes. Servers name them in two ways; the larger counts."""
    written = details.largest_part(_WRITE_KEYS, prompt)
    lifetimes = details.inside("cache_write_tokens_details")
    long_lived = lifetimes.part("ttl_12h_tokens", written, "the tokens written")
    return long_lived, written - long_lived


def _output(usage: Counters, names: Names, completion: int, unseen: int) -> dict[str, int]:
    """`unseen` is what `total_tokens` has beyond input and output. Servers that keep reasoning out
    of the output still have it in the total (xAI's chat API; Google's OpenAI-compatible endpoint,
    without any details): it is billed, so it is metered as reasoning."""
    details = usage.inside(names.output_details)
    output = completion + unseen
    reasoning = max(details.part("reasoning_tokens", output), unseen)
    audio = details.part("audio_tokens", completion)
    image = details.part("image_tokens", completion)
    text = output - reasoning - audio - image
    if text < 0:
        raise UsageInvalid(
            f"{names.output_details}: reasoning_tokens {reasoning}, audio_tokens {audio} and "
            f"image_tokens {image} are together more than the {output} tokens of output"
        )
    return {
        "text_output": text,
        "reasoning_output": reasoning,
        "audio_output": audio,
        "image_output": image,
    }
