"""How many input tokens a picture is, by the rules that the providers publish.

Each rule is a bound: what a provider scales down before it counts is never counted as less here,
and where two versions of a page disagree the dearer one holds. A model that no page names has no
rule, and its pictures count as the whole context window.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pricing.families import bare_name
from pricing.images import Image, Size


class Rule(Protocol):
    """Of one family of models."""

    def tokens_max(self, image: Image) -> int | None:
        """The most tokens that the picture can be; None where only its size would tell."""
        ...


@dataclass(frozen=True, slots=True)
class Tiles:
    """OpenAI, guide "Images and vision", Tile-based image tokenization: fit into 2048 x 2048, then
    the shorter side to 768, then squares of 512. `low` detail is the base alone."""

    base: int
    tile: int

    def tokens_max(self, image: Image) -> int:
        """See Rule. A picture elsewhere is four by two tiles at most."""
        if image.detail == "low":
            return self.base
        tiles = 8 if image.size is None else _tiles(image.size)
        return self.base + tiles * self.tile


@dataclass(frozen=True, slots=True)
class Patches:
    """The same guide, Patch-based image tokenization: one token per 32 x 32 pixels, at most a
    number of them, times a factor. `high` is that number for details low and high, `original` for
    any other: what is scaled down to a side of pixels has fewer, never more."""

    percent: int
    high: int
    original: int

    def tokens_max(self, image: Image) -> int:
        """See Rule."""
        most = self.high if image.detail in ("low", "high") else self.original
        patches = most if image.size is None else min(_squares(image.size, 32), most)
        return -(-patches * self.percent // 100)


@dataclass(frozen=True, slots=True)
class Claude:
    """Anthropic, "Vision": one token per 28 x 28 pixels; earlier pages had width x height / 750.
    The dearer of both, at most `most`."""

    most: int

    def tokens_max(self, image: Image) -> int:
        """See Rule."""
        if image.size is None:
            return self.most
        pixels = image.size.width * image.size.height
        return min(max(_squares(image.size, 28), -(-pixels // 750)), self.most)


@dataclass(frozen=True, slots=True)
class GeminiCrops:
    """Google, "Image understanding", Token calculation: 258 up to 384 x 384, else 258 for each
    crop. The page has squares of 768 and, as approximate, of the shorter side by 1.5: the dearer of
    both. It names no most."""

    def tokens_max(self, image: Image) -> int | None:
        """See Rule."""
        if image.size is None:
            return None
        if max(image.size) <= 384:
            return 258
        unit = max(1, min(image.size) * 2 // 3)
        return 258 * max(_squares(image.size, 768), _squares(image.size, unit))


@dataclass(frozen=True, slots=True)
class Allotted:
    """Google, "Media resolution": the tokens of a picture are a setting, whatever its size."""

    most: int

    def tokens_max(self, image: Image) -> int:  # noqa: ARG002  # the same for all
        """See Rule."""
        return self.most


# OpenAI's guide as of September 2026, and as of August 2026 where that has the larger number. An
# image that needs more than 30,000 patches is refused. Models that no version of the table names
# (GPT-6 Sol and Luna among them) are not here.
_OPENAI: tuple[tuple[str, Rule], ...] = (
    (r"gpt-4o-mini", Tiles(2833, 5667)),
    (r"gpt-4o|chatgpt-4o-latest|gpt-4\.1|gpt-4\.5-preview|gpt-4-turbo", Tiles(85, 170)),
    (r"gpt-5(?:\.1)?(?:-chat-latest)?", Tiles(70, 140)),
    (r"o1|o1-pro|o3", Tiles(75, 150)),
    (r"computer-use-preview", Tiles(65, 129)),
    (r"gpt-4\.1-mini|gpt-5-mini|gpt-5\.4-mini", Patches(162, 6_144, 6_144)),
    (r"gpt-4\.1-nano|gpt-5-nano|gpt-5\.4-nano", Patches(246, 6_144, 6_144)),
    (r"o4-mini", Patches(172, 6_144, 6_144)),
    (r"gpt-5(?:\.1)?-codex-mini", Patches(162, 6_144, 6_144)),
    (r"gpt-5\.2(?:-chat-latest|-codex)?|gpt-5\.3-codex", Patches(120, 6_144, 6_144)),
    (r"gpt-5\.[45]", Patches(120, 2_500, 10_000)),
    (r"gpt-5\.6(?:-[a-z]+)?|gpt-6-astra", Patches(120, 30_000, 30_000)),
)
# Anthropic's table has two rows: 4.7 and later with 4,784 tokens, and all others with 1,568 (1,600
# before). A name without a version that we can read is taken for a later one.
_CLAUDE = re.compile(r"(?:[a-z-]+\.)*claude-.+", re.ASCII)
_CLAUDE_VERSION = re.compile(
    r"claude-(?:(?:opus|sonnet|haiku)-)?([0-9])(?:[.-]([0-9])(?![0-9]))?(?![0-9])", re.ASCII
)
_CLAUDE_HIGH_FROM = (4, 7)
_CLAUDE_HIGH_TOKENS, _CLAUDE_STANDARD_TOKENS = 4_784, 1_600
_GEMINI_CROPS = re.compile(r"gemini-(?:1\.5|2\.0|2\.5)-(?:pro|flash|flash-lite)(?:-[0-9]{3})?")
_GEMINI_ALLOTTED = re.compile(r"gemini-3(?:\.[0-9])?-(?:pro|flash|flash-lite)(?:-preview)?")
_GEMINI_3_ULTRA_HIGH_TOKENS = 2_240


def rule_of(provider: str, model: str) -> Rule | None:
    """The rule of a model's family; None where no page that we know names it."""
    name = bare_name(provider, model)
    if _CLAUDE.fullmatch(name):
        return _claude(name)
    if _GEMINI_CROPS.fullmatch(name):
        return GeminiCrops()
    if _GEMINI_ALLOTTED.fullmatch(name):
        return Allotted(_GEMINI_3_ULTRA_HIGH_TOKENS)
    return next((rule for pattern, rule in _OPENAI if re.fullmatch(pattern, name)), None)


def _claude(name: str) -> Claude:
    version = _CLAUDE_VERSION.search(name)
    if version and (int(version[1]), int(version[2] or 0)) < _CLAUDE_HIGH_FROM:
        return Claude(_CLAUDE_STANDARD_TOKENS)
    return Claude(_CLAUDE_HIGH_TOKENS)


def images_tokens_max(provider: str, model: str, images: Iterable[Image]) -> int | None:
    """The most input tokens that these pictures can be together, beside the marks around them; None
    where one of them has no bound but the context window."""
    rule = rule_of(provider, model)
    if rule is None:
        return None
    total = 0
    for image in images:
        tokens = rule.tokens_max(image)
        if tokens is None:
            return None
        total += tokens
    return total


def _squares(size: Size, side: int) -> int:
    return -(-size.width // side) * -(-size.height // side)


def _tiles(size: Size) -> int:
    """Squares of 512 after scaling down; what is smaller is not scaled up (150 x 150 pixels are one
    tile on OpenAI's pricing page). Sides are rounded up: a provider's rounding has no more."""
    short, long = sorted(size)
    long_scaled = min(long, 2048, -(-long * 768 // short))
    short_scaled = min(short, 768, -(-short * 2048 // long))
    return -(-long_scaled // 512) * -(-short_scaled // 512)
