"""Anthropic's messages: what the cache did stands beside the input, and iterations are summed."""

import pytest

from pricing import Meters, SubUse, UsageInvalid, Used, read_usage


def read(**usage: object) -> Used:
    return read_usage("anthropic", {"input_tokens": 10, "output_tokens": 5} | usage)


def test_the_cache_is_beside_the_input() -> None:
    """Reads and writes are not taken out of input_tokens; what has no lifetime lives 5 minutes."""
    used = read(
        cache_read_input_tokens=100,
        cache_creation_input_tokens=50,
        cache_creation={"ephemeral_1h_input_tokens": 20},
    )
    assert used.meters == Meters(
        text_input=10, cached_input=100, cache_write_5m=30, cache_write_1h=20, text_output=5
    )


def test_a_breakdown_alone_counts() -> None:
    """Writes that only the breakdown names are metered."""
    used = read(cache_creation={"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 8})
    assert (used.meters.cache_write_5m, used.meters.cache_write_1h) == (7, 8)


def test_a_breakdown_is_not_more_than_all_writes() -> None:
    """Lifetimes that add up to more than was written are refused."""
    with pytest.raises(UsageInvalid, match="names 9 tokens, more than the 8 written"):
        read(cache_creation_input_tokens=8, cache_creation={"ephemeral_5m_input_tokens": 9})


def test_thinking_is_inside_the_output() -> None:
    """Thinking is taken out of the text, and cannot be more than the output."""
    used = read(output_tokens_details={"thinking_tokens": 4})
    assert (used.meters.text_output, used.meters.reasoning_output) == (1, 4)
    with pytest.raises(UsageInvalid, match=r"output_tokens_details\.thinking_tokens is 6"):
        read(output_tokens_details={"thinking_tokens": 6})


def test_what_served_is_in_the_facts() -> None:
    """Tier, batch, geography and speed are as the answer has them, not as they were asked for."""
    assert read(service_tier="standard", inference_geo="global").facts.region == ""
    assert read(inference_geo="not_available").facts.region == ""
    batch = read(service_tier="batch", inference_geo="us", speed="fast").facts
    assert (batch.service_tier, batch.batch, batch.region, batch.fast) == ("", True, "us", True)
    assert not read(speed="standard").facts.fast


def test_free_tools_are_not_counted_and_unknown_ones_are() -> None:
    """Fetches and tool searches cost nothing; a tool that is not known might."""
    tools = {
        "web_search_requests": 2,
        "web_fetch_requests": 3,
        "tool_search_requests": 4,
        "oracle_requests": 5,
    }
    used = read(server_tool_use=tools)
    assert (used.meters.search_calls, used.meters.tool_calls) == (2, 5)
    assert used.facts.tools == (("oracle", 5),)


def test_iterations_are_what_is_billed() -> None:
    """With a compaction the top level is one iteration of several."""
    used = read(
        iterations=[
            {"type": "compaction", "input_tokens": 100, "output_tokens": 7},
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
        ]
    )
    assert used.meters == Meters(text_input=110, text_output=12)


def test_another_models_iteration_is_a_sub_use() -> None:
    """Tokens of an adviser are in the meters, and named, because they have another price."""
    used = read(
        iterations=[
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
            {"type": "advisor_message", "model": "big", "input_tokens": 3, "output_tokens": 2},
        ]
    )
    assert used.meters == Meters(text_input=13, text_output=7)
    assert used.facts.sub_uses == (SubUse("big", Meters(text_input=3, text_output=2)),)


def test_a_declined_attempt_is_billed_when_it_had_written_something() -> None:
    """Before a fallback, an attempt without output is free and one with output is not."""

    def attempts(*outputs: int) -> tuple[SubUse, ...]:
        models = ["first", "second", "third"]
        kinds = ["message", "fallback_message", "fallback_message"]
        return read(
            iterations=[
                {"type": kind, "model": model, "input_tokens": 10, "output_tokens": output}
                for kind, model, output in zip(kinds, models, outputs, strict=True)
            ]
        ).facts.sub_uses

    assert [sub.model for sub in attempts(0, 0, 5)] == ["third"]
    assert [sub.model for sub in attempts(4, 0, 5)] == ["first", "third"]


def test_iterations_that_are_less_than_the_whole_are_refused() -> None:
    """Iterations that leave out what the top level has cannot be what is billed."""
    with pytest.raises(UsageInvalid, match="input_tokens add up to 9, less than the 10 of all"):
        read(iterations=[{"type": "message", "input_tokens": 9, "output_tokens": 5}])
    with pytest.raises(UsageInvalid, match="iterations must be a list"):
        read(iterations={})
    with pytest.raises(UsageInvalid, match=r"iterations\[0\]\.input_tokens is missing"):
        read(iterations=[{"output_tokens": 5}])
