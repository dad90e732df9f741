"""OpenAI's chat completions: counters that contain each other become disjoint ones."""

import math
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.meters import TOKENS_MAX, Meters, UsageInvalid
from pricing.usage import meters_from_openai_chat, read_usage

COUNTS = st.integers(0, 10**6)
JSON_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LEAF = COUNTS | st.integers(0, 50) | JSON_LEAVES
PART_NAMES = st.sampled_from(
    ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"]
)
DETAILS = (
    JSON_LEAVES
    | st.dictionaries(PART_NAMES, st.integers(0, 50), max_size=3)
    | st.dictionaries(PART_NAMES, LEAF | st.lists(LEAF, max_size=1), max_size=3)
)
HOSTILE_USAGE = st.fixed_dictionaries(
    {"prompt_tokens": LEAF, "completion_tokens": LEAF},
    optional={
        "total_tokens": LEAF,
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": DETAILS,
    },
)


def usage(prompt: object = 100, completion: object = 50, **more: object) -> dict[str, object]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def test_details_are_taken_out_of_their_totals() -> None:
    """A token that a detail names is in that meter and no longer in the text meter."""
    meters = meters_from_openai_chat(
        usage(
            100,
            50,
            total_tokens=150,
            prompt_tokens_details={"cached_tokens": 60, "audio_tokens": 10},
            completion_tokens_details={
                "reasoning_tokens": 30,
                "audio_tokens": 5,
                "rejected_prediction_tokens": 3,
            },
        )
    )
    assert meters == Meters(
        text_input=30,
        cached_input=60,
        audio_input=10,
        text_output=15,
        reasoning_output=30,
        audio_output=5,
    )


@pytest.mark.parametrize("details", [{}, {"prompt_tokens_details": None}])
def test_absent_and_null_details_are_zero(details: dict[str, object]) -> None:
    """Servers without details, or with null ones, are metered as plain text."""
    meters = meters_from_openai_chat(usage(7, 3, completion_tokens_details=None, **details))
    assert meters == Meters(text_input=7, text_output=3)


def test_cache_writes_are_metered_by_lifetime() -> None:
    """Writes that OpenAI bills are neither plain input nor cached; long-lived ones are apart."""
    details = {
        "cached_tokens": 1000,
        "cache_write_tokens": 3000,
        "cache_write_tokens_details": {"ttl_30m_tokens": 1000, "ttl_12h_tokens": 2000},
    }
    meters = meters_from_openai_chat(usage(5000, 1, prompt_tokens_details=details))
    assert meters == Meters(
        text_input=1000, cached_input=1000, cache_write_5m=1000, cache_write_1h=2000, text_output=1
    )


@pytest.mark.parametrize("name", ["cache_write_tokens", "cache_creation_tokens"])
def test_both_names_of_cache_writes_count(name: str) -> None:
    """Whichever name a server uses for cache writes, they are not priced as plain input."""
    meters = meters_from_openai_chat(usage(10, 0, prompt_tokens_details={name: 4}))
    assert (meters.text_input, meters.cache_write_5m) == (6, 4)


def test_cached_audio_is_metered_as_audio() -> None:
    """Where details overlap (an audio token that is cached), the dearer meter has the token."""
    details = {"cached_tokens": 90, "audio_tokens": 80, "image_tokens": 15}
    meters = meters_from_openai_chat(usage(100, 0, prompt_tokens_details=details))
    assert meters == Meters(audio_input=80, image_input=15, cached_input=5)


def test_reasoning_that_only_the_total_shows_is_metered() -> None:
    """Google's compatible endpoint bills thinking that stands in total_tokens alone: not missed."""
    meters = meters_from_openai_chat(usage(758, 102, total_tokens=1725))
    assert meters == Meters(text_input=758, text_output=102, reasoning_output=865)


def test_reasoning_beside_completion_is_not_counted_twice() -> None:
    """xAI keeps reasoning out of completion_tokens and names it in the details: counted once."""
    meters = meters_from_openai_chat(
        usage(32, 9, total_tokens=141, completion_tokens_details={"reasoning_tokens": 100})
    )
    assert meters == Meters(text_input=32, text_output=9, reasoning_output=100)


def test_a_total_that_is_too_small_changes_nothing() -> None:
    """A total below its parts cannot make a request cheaper."""
    assert meters_from_openai_chat(usage(10, 5, total_tokens=1)) == Meters(
        text_input=10, text_output=5
    )


@pytest.mark.parametrize(
    "value",
    [-1, 1.0, math.nan, math.inf, "12", True, False, 10**30, 10**5000, TOKENS_MAX + 1, [1], {}],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:8] if value != 10**5000 else 'huge'}",
)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_hostile_total_is_refused(name: str, value: object) -> None:
    """Anything but a plausible count is UsageInvalid, with the field in the message."""
    with pytest.raises(UsageInvalid, match=rf"^{name} "):
        meters_from_openai_chat(usage() | {name: value})


@pytest.mark.parametrize("value", [-1, 0.5, math.nan, "1", True, 10**30, [], 101])
@pytest.mark.parametrize(
    "path",
    [
        ("prompt_tokens_details", "cached_tokens"),
        ("prompt_tokens_details", "cache_write_tokens"),
        ("prompt_tokens_details", "cache_creation_tokens"),
        ("prompt_tokens_details", "audio_tokens"),
        ("prompt_tokens_details", "image_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
        ("completion_tokens_details", "audio_tokens"),
    ],
)
def test_a_hostile_detail_is_refused(path: tuple[str, str], value: object) -> None:
    """A detail that is no count, or is larger than its total, is UsageInvalid with its path."""
    outer, inner = path
    with pytest.raises(UsageInvalid, match=rf"^{outer}\.{inner} "):
        meters_from_openai_chat(usage(100, 50) | {outer: {inner: value}})


def test_writes_of_one_lifetime_are_not_more_than_all_writes() -> None:
    """A lifetime's count that is larger than the tokens written is refused."""
    details = {"cache_write_tokens": 1, "cache_write_tokens_details": {"ttl_12h_tokens": 2}}
    with pytest.raises(UsageInvalid, match=r"cache_write_tokens_details\.ttl_12h_tokens is 2"):
        meters_from_openai_chat(usage(100, 50, prompt_tokens_details=details))


def test_output_details_together_are_not_more_than_the_output() -> None:
    """Reasoning and audio cannot overlap, so their sum is refused when it exceeds the output."""
    details = {"reasoning_tokens": 30, "audio_tokens": 30}
    with pytest.raises(UsageInvalid, match="together"):
        meters_from_openai_chat(usage(1, 50, completion_tokens_details=details))


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_missing_total_is_refused(name: str, *, absent: bool) -> None:
    """Without a total there is no usage: absent and null are refused, never read as zero."""
    hostile = usage() | {name: None}
    if absent:
        del hostile[name]
    with pytest.raises(UsageInvalid, match=f"^{name} is missing"):
        meters_from_openai_chat(hostile)


@pytest.mark.parametrize("value", [[], "x" * 10**6, 3, True])
def test_something_else_than_an_object_is_refused(value: object) -> None:
    """A usage or a details field of another type is UsageInvalid with a short message."""
    with pytest.raises(UsageInvalid, match="usage must be an object"):
        meters_from_openai_chat(cast("dict[str, object]", value))
    with pytest.raises(UsageInvalid, match="prompt_tokens_details must be an object") as caught:
        meters_from_openai_chat(usage(prompt_tokens_details=value))
    assert len(str(caught.value)) < 200


@settings(deadline=None, max_examples=500)
@given(hostile=HOSTILE_USAGE)
def test_any_json_is_metered_within_its_totals_or_refused(hostile: dict[str, object]) -> None:
    """Whatever JSON arrives: UsageInvalid, or counters that sum exactly to what was reported."""
    try:
        meters = meters_from_openai_chat(hostile)
    except UsageInvalid:
        return
    prompt = cast("int", hostile["prompt_tokens"])
    completion = cast("int", hostile["completion_tokens"])
    total = cast("int", hostile.get("total_tokens") or 0)
    assert meters.input_tokens == prompt
    assert meters.total_tokens == max(total, prompt + completion)


@settings(deadline=None)
@given(data=st.data(), prompt=COUNTS, completion=COUNTS)
def test_valid_usage_is_never_refused(data: st.DataObject, prompt: int, completion: int) -> None:
    """Details that fit their totals are accepted, also when input details overlap."""
    inside = st.integers(0, prompt)
    reasoning = data.draw(st.integers(0, completion))
    meters = meters_from_openai_chat(
        usage(
            prompt,
            completion,
            total_tokens=prompt + completion,
            prompt_tokens_details={
                "cached_tokens": data.draw(inside),
                "audio_tokens": data.draw(inside),
                "image_tokens": data.draw(inside),
                "cache_write_tokens": data.draw(inside),
            },
            completion_tokens_details={
                "reasoning_tokens": reasoning,
                "audio_tokens": data.draw(st.integers(0, completion - reasoning)),
            },
        )
    )
    assert (meters.input_tokens, meters.output_tokens) == (prompt, completion)
    assert meters.reasoning_output == reasoning


def test_video_and_drawn_images_have_meters_of_their_own() -> None:
    """OpenRouter names video in and images out: neither is priced as text."""
    meters = meters_from_openai_chat(
        usage(
            100,
            50,
            prompt_tokens_details={"video_tokens": 70, "cached_tokens": 60},
            completion_tokens_details={"image_tokens": 40, "reasoning_tokens": 5},
        )
    )
    assert meters == Meters(
        video_input=70, cached_input=30, text_output=5, reasoning_output=5, image_output=40
    )


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "num_cached_tokens"])
def test_cached_tokens_can_stand_beside_the_total(name: str) -> None:
    """DeepSeek and Mistral repeat the cached tokens: alone they count, beside the details once."""
    alone = meters_from_openai_chat(usage(100, 1) | {name: 64})
    assert (alone.text_input, alone.cached_input) == (36, 64)
    both = usage(100, 1, prompt_tokens_details={"cached_tokens": 64}) | {name: 64}
    assert meters_from_openai_chat(both) == alone
    with pytest.raises(UsageInvalid, match=f"{name} is 101, more than"):
        meters_from_openai_chat(usage(100, 1) | {name: 101})


def test_sound_that_is_billed_by_its_length_is_metered() -> None:
    """Mistral's audio models count seconds of the prompt beside its tokens."""
    read = read_usage("mistral", usage(10, 1) | {"prompt_audio_seconds": 7}, api="openai-chat")
    assert read.meters == Meters(text_input=10, text_output=1, audio_ms=7000)


def test_the_tier_in_the_usage_is_the_one_that_served() -> None:
    """Mistral says inside of the usage which tier it was; nothing said is the standard one."""
    served = read_usage("mistral", usage() | {"service_tier": "priority"}).facts
    assert served.service_tier == "priority"
    assert read_usage("mistral", usage() | {"service_tier": None}).facts.service_tier == ""
    with pytest.raises(UsageInvalid, match="service_tier must be text"):
        read_usage("mistral", usage() | {"service_tier": 2})


def test_sources_of_a_live_search_are_not_overlooked() -> None:
    """xAI's live search is billed by the source: counted, so that no price can miss it."""
    read = read_usage("xai", usage() | {"num_sources_used": 3}, api="openai-chat")
    assert (read.meters.tool_calls, read.facts.tools) == (3, (("live_search_source", 3),))
