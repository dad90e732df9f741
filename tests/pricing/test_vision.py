"""Pictures: what the providers' pages work out by hand, and never less at any size."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pricing.images import Image, Size
from pricing.vision import Claude, Patches, images_tokens_max, rule_of

SIZES = st.builds(Size, st.integers(1, 20_000), st.integers(1, 20_000))


def tokens(model: str, width: int, height: int, detail: str = "", provider: str = "openai") -> int:
    found = images_tokens_max(provider, model, [Image(Size(width, height), detail)])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "width", "height", "detail", "expected"),
    [
        # OpenAI, "Images and vision": the examples of the page, and of its pricing calculator.
        ("gpt-4o", 1024, 1024, "high", 765),
        ("gpt-4o", 2048, 4096, "auto", 1105),
        ("gpt-4o", 4096, 8192, "low", 85),
        ("gpt-4o", 150, 150, "high", 255),
        ("gpt-4o-mini", 1024, 1024, "high", 2833 + 4 * 5667),
        ("gpt-5-2025-08-07", 1024, 1024, "", 70 + 4 * 140),
        ("o1", 512, 512, "", 75 + 150),
        ("gpt-4.1-mini-2025-04-14", 1024, 1024, "", math.ceil(1024 * 1.62)),
        ("o4-mini", 1024, 1024, "high", math.ceil(1024 * 1.72)),
        ("gpt-5.4", 8000, 8000, "high", 2_500 * 12 // 10),
        ("gpt-5.4", 8000, 8000, "original", 10_000 * 12 // 10),
        ("gpt-5.6-sol", 4800, 6400, "", 30_000 * 12 // 10),
        # Anthropic, "Vision": the table's examples.
        ("claude-sonnet-4-6", 200, 200, "", 64),
        ("claude-opus-4-7", 1920, 1080, "", 2_765),
        ("claude-opus-5", 3840, 2160, "", 4_784),
        ("claude-opus-4-1-20250805", 3840, 2160, "", 1_600),
        # Google, "Image understanding": 960 x 540 is 3 x 2 crops.
        ("gemini-2.5-flash", 960, 540, "", 6 * 258),
        ("gemini-2.0-flash-001", 384, 384, "", 258),
        ("gemini-3-flash-preview", 10_000, 10_000, "", 2_240),
    ],
)
def test_what_the_pages_work_out(
    model: str, width: int, height: int, detail: str, expected: int
) -> None:
    """To the token; for Claude the older formula where it is dearer (1,920 x 1,080: now 2,691)."""
    assert tokens(model, width, height, detail) == expected


def openai_tiles(size: Size, base: int, tile: int) -> int:
    """The page's steps in floating point, sides rounded to the next whole pixel."""
    width, height = float(size.width), float(size.height)
    fit = min(1.0, 2048 / max(width, height))
    width, height = width * fit, height * fit
    short = min(1.0, 768 / min(width, height))
    width, height = max(1, round(width * short)), max(1, round(height * short))
    return base + tile * math.ceil(width / 512) * math.ceil(height / 512)


def openai_patches(size: Size, budget: int, side: int) -> int:
    """The page's steps for a model with a budget of patches and a longest side."""
    width, height = float(size.width), float(size.height)
    fit = min(1.0, side / max(width, height))
    width, height = width * fit, height * fit
    if math.ceil(width / 32) * math.ceil(height / 32) > budget:
        shrink = math.sqrt(32**2 * budget / (width * height))
        across, down = width * shrink / 32, height * shrink / 32
        least = min(math.floor(across) / across, math.floor(down) / down)
        shrink *= least or 1.0
        width, height = math.floor(width * shrink), math.floor(height * shrink)
    return min(budget, math.ceil(width / 32) * math.ceil(height / 32))


def claude(size: Size, side: int, most: int) -> int:
    """The largest size with the same proportions within both limits, in squares of 28."""
    width, height = float(size.width), float(size.height)
    fit = min(1.0, side / max(width, height))
    while math.ceil(width * fit / 28) * math.ceil(height * fit / 28) > most:
        fit *= 0.999
    return math.ceil(width * fit / 28) * math.ceil(height * fit / 28)


@example(size=Size(161, 769))  # 150 patches: in floats, 1.62 times that is more than 243
@example(size=Size(3999, 1001))  # 512.6 pixels high after scaling: two rows of tiles
@given(size=SIZES)
def test_no_size_is_billed_above_its_bound(size: Size) -> None:
    """The providers' own steps, with their scaling, never come to more than the bound."""
    assert openai_tiles(size, 85, 170) <= tokens("gpt-4o", *size)
    assert openai_tiles(size, 2833, 5667) <= tokens("gpt-4o-mini", *size)
    for budget in (1_536, 6_144):
        patches = openai_patches(size, budget, 2048)
        assert -(-patches * 162 // 100) <= tokens("gpt-5-mini", *size)
    assert -(-openai_patches(size, 2_500, 2048) * 12 // 10) <= tokens("gpt-5.5", *size, "high")
    assert -(-openai_patches(size, 10_000, 6000) * 12 // 10) <= tokens("gpt-5.5", *size)
    assert claude(size, 1568, 1568) <= tokens("claude-sonnet-4-5", *size)
    assert claude(size, 2576, 4784) <= tokens("claude-opus-4-8", *size)


@given(size=SIZES, detail=st.sampled_from(["", "auto", "high", "low", "original", "x"]))
def test_a_picture_elsewhere_is_the_most_that_one_can_be(size: Size, detail: str) -> None:
    """Whatever its size turns out to be; a turned picture is the same."""
    models = ["gpt-4o", "gpt-4o-mini", "gpt-5-mini", "gpt-5.4", "gpt-5.6", "claude-3-haiku"]
    for model in [*models, "claude-opus-5", "gemini-3-pro"]:
        unknown = images_tokens_max("openai", model, [Image(None, detail)])
        assert unknown is not None
        assert tokens(model, *size, detail) <= unknown
        assert tokens(model, size.height, size.width, detail) == tokens(model, *size, detail)


def test_a_family_without_a_most_says_so() -> None:
    """Gemini 2 bills crops without an end: a picture elsewhere has no bound."""
    known = Image(Size(10, 10))
    assert images_tokens_max("gemini", "gemini-2.5-pro", [known, Image(None)]) is None
    assert images_tokens_max("gemini", "gemini-2.5-pro", [known, known]) == 2 * 258


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-6-sol"),
        ("openai", "gpt-4"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "gpt-5.7"),
        ("openai", "my-gpt-4o"),
        ("openai", "gpt-4o-clone"),
        ("azure", "gpt-4o"),
        ("xai", "grok-4.3"),
        ("gemini", "gemini-4-argon"),
        ("gemini", "gemini-2.5-flash-image"),
        ("openai", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("openai", "not-claude-at-all"),
    ],
)
def test_a_model_that_no_page_names_has_no_rule(provider: str, model: str) -> None:
    """A name that resembles another, or comes later, is not taken for it."""
    assert rule_of(provider, model) is None
    assert images_tokens_max(provider, model, [Image(Size(9, 9))]) is None


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-5-sonnet-20241022", 1_600),
        ("claude-opus-4-20250514", 1_600),
        ("claude-sonnet-4.6", 1_600),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", 1_600),
        ("claude-opus-4-7", 4_784),
        ("anthropic.claude-opus-4-8-v1:0", 4_784),
        ("claude-sonnet-5-5", 4_784),
        ("claude-fable-5", 4_784),
        ("claude-haiku-latest", 4_784),
    ],
)
def test_claude_by_its_version(model: str, most: int) -> None:
    """4.7 and later see more; a version that cannot be read is taken for a later one."""
    assert rule_of("bedrock", model) == Claude(most)


def test_the_same_rule_wherever_a_model_is_served() -> None:
    """A publisher's prefix or a date changes nothing."""
    expected = Patches(162, 6_144, 6_144)
    for provider, model in (
        ("openai", "gpt-5.4-mini"),
        ("openai", "gpt-5.4-mini-2026-03-05"),
        ("openrouter", "openai/gpt-5.4-mini"),
    ):
        assert rule_of(provider, model) == expected
