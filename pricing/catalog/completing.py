"""What follows from the rest of a `model_info`, and what only repeats it."""

import re

# A price that is listed beside the one that it is equal to, for every service tier that has either.
_REPEATS = {
    "output_cost_per_reasoning_token": "output_cost_per_token",
    "output_cost_per_audio_token": "output_cost_per_token",
    "input_cost_per_image_token": "input_cost_per_token",
    "input_cost_per_video_token": "input_cost_per_token",
    "input_cost_per_audio_token": "input_cost_per_token",
}
_TIERS = ("_batches", "_flex", "_priority")
_THRESHOLD = re.compile(r"_above_[0-9]+k?_tokens")


def completed(info: dict[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """(`info` whole and without repetition, what was assumed).

    An embedding has no output. Without a bound of the output, no answer can be longer than the
    context window.
    """
    if info.get("mode") == "embedding" and "output_cost_per_token" not in info:
        info = {**info, "output_cost_per_token": "0"}
    info = _without_repetition(info)
    window = info.get("max_input_tokens")
    if window is None or info.keys() & {"max_output_tokens", "max_tokens"}:
        return info, ()
    note = f"max_output_tokens is not listed: the context window, {window}, bounds the output"
    return {**info, "max_output_tokens": window}, (note,)


def _without_repetition(info: dict[str, object]) -> dict[str, object]:
    """Reasoning "at the price of text" is listed for the standard tier alone, and would be dearer
    than text in a tier that is cheaper. What repeats the text's price wherever it is listed goes,
    so that it follows the text everywhere."""
    for special, plain in _REPEATS.items():
        keys = [key for key in info if _base(key) == special]
        if keys and all(info[key] == info.get(key.replace(special, plain)) for key in keys):
            info = {key: value for key, value in info.items() if key not in keys}
    return info


def _base(key: str) -> str:
    for tier in _TIERS:
        key = key.removesuffix(tier)
    return _THRESHOLD.sub("", key)
