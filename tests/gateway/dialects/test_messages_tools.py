"""A tool that the provider would run is refused wherever it is offered, in `tools` or in the middle
of the conversation."""

from typing import Any

import pytest

from gateway.dialects.messages_tools import TOOLS_MAX
from gateway.errors import InvalidRequest, NotPriced
from tests.gateway.dialects.test_messages import asked, parsed

CUSTOM = {"name": "weather", "description": "words " * 50, "input_schema": {"type": "object"}}


def added(tool: object) -> dict[str, Any]:
    """A block that offers a tool from here on (anthropic-sdk-python,
    `BetaRequestToolAdditionBlockParam`)."""
    return {"type": "tool_addition", "tool": tool}


def defined(definition: object) -> dict[str, Any]:
    """The same, with the tool itself."""
    return added({"type": "tool_definition", "definition": definition})


@pytest.mark.parametrize(
    "kind",
    [
        *("web_search_20250305", "web_fetch_20250910", "code_execution_20250825"),
        *("advisor_20260301", "tool_search_tool_bm25_20251119", "mcp_toolset", "newer_1"),
    ],
)
def test_a_tool_that_the_provider_runs_is_refused_wherever_it_is_offered(kind: str) -> None:
    """Each of its calls reads the whole input again, and may be billed by itself."""
    tool = {"type": kind, "name": "x", "model": "claude-opus-4-6"}
    with pytest.raises(NotPriced):
        parsed(tools=[tool])
    for block in (
        defined(tool),
        {"type": "tool_result", "tool_use_id": "t", "content": [defined(tool)]},
    ):
        with pytest.raises(NotPriced):
            asked(block)


@pytest.mark.parametrize(
    "change",
    [
        *(None, 5, "x", [], {}, {"type": ["tool_definition"]}, {"type": "newer"}),
        {"type": "mcp_tool_reference", "server_name": "s", "name": "n"},
        {"type": "mcp_toolset_reference", "server_name": "s"},
        {"type": "tool_reference", "name": "n", "definition": CUSTOM},
    ],
)
def test_what_is_neither_defined_nor_named_is_refused(change: object) -> None:
    """It may be a tool of the provider's."""
    with pytest.raises(NotPriced, match="tool_addition"):
        asked(added(change))


def test_a_tool_of_the_callers_counts_as_it_does_in_tools() -> None:
    """Its definition, and the words that the provider tells the model about tools."""
    call = asked(defined(CUSTOM))
    assert call.has_tools
    assert not call.unseen_content
    assert call.input_tokens_max >= parsed(tools=[CUSTOM]).input_tokens_max - 64
    assert not asked(added({"type": "tool_reference", "name": "weather"})).unseen_content
    odd: object
    for odd in (None, 5, "x", []):
        with pytest.raises(InvalidRequest, match="tools is a list of tools"):
            asked(defined(odd))


def test_there_are_at_most_so_many() -> None:
    """A bound on what is looked at."""
    with pytest.raises(InvalidRequest, match=f"more than {TOOLS_MAX}"):
        parsed(tools=[{"name": "x"}] * (TOOLS_MAX + 1))
