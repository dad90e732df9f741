"""OpenAI's responses: tokens as in chat, and calls that only the output shows."""

from typing import Any

import pytest

from pricing import Meters, UsageInvalid, Used, read_usage

USAGE = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}


def read(output: list[Any] | None = None, provider: str = "openai", **usage: object) -> Used:
    return read_usage(provider, USAGE | usage, api="openai-responses", output=output)


def test_tokens_are_nested_as_in_chat() -> None:
    """Cached and written tokens are inside the input, reasoning inside the output."""
    used = read(
        input_tokens_details={"cached_tokens": 60, "cache_write_tokens": 30},
        output_tokens_details={"reasoning_tokens": 20},
    )
    assert used.meters == Meters(
        text_input=10, cached_input=60, cache_write_5m=30, text_output=30, reasoning_output=20
    )
    with pytest.raises(UsageInvalid, match=r"input_tokens_details\.cached_tokens is 101"):
        read(input_tokens_details={"cached_tokens": 101})


@pytest.mark.parametrize(
    ("action", "billed"),
    [("search", 1), ("open_page", 0), ("find_in_page", 0), ("find", 0), ("new", 1), (None, 1)],
)
def test_only_opening_and_finding_are_free(action: str | None, billed: int) -> None:
    """A search is billed; an action that is not known counts as one."""
    item: dict[str, object] = {"type": "web_search_call"}
    if action is not None:
        item["action"] = {"type": action}
    assert read([item]).meters.search_calls == billed


def test_containers_are_billed_once_each() -> None:
    """Code interpreter is billed by the container, file search by the call."""
    calls = [{"type": "code_interpreter_call", "container_id": name} for name in "aab"]
    calls += [{"type": "code_interpreter_call"}, {"type": "file_search_call"}, {"type": "message"}]
    used = read(calls)
    assert used.facts.tools == (("code_interpreter", 3), ("file_search", 1))
    assert used.meters.tool_calls == 4


def test_a_drawn_image_is_not_overlooked() -> None:
    """Another model draws it, and bills what this usage does not have."""
    assert read([{"type": "image_generation_call"}]).facts.tools == (("image_generation", 1),)


def test_calls_that_the_usage_counts_are_not_counted_again() -> None:
    """xAI counts its tools in the usage: the items of the output are the same calls."""
    details = {
        "web_search_calls": 2,
        "x_search_calls": 1,
        "mcp_calls": 9,
        "code_interpreter_calls": 4,
    }
    used = read(
        [{"type": "web_search_call"}], provider="xai", server_side_tool_usage_details=details
    )
    assert (used.meters.search_calls, used.facts.tools) == (3, (("code_interpreter", 4),))
