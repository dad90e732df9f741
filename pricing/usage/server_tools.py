"""Calls of tools that a provider runs and bills by the call, as usage objects count them.

Anthropic's and OpenRouter's `server_tool_use` (Anthropic, "Web search tool" and "Web fetch tool"),
xAI's `server_side_tool_usage_details` (xAI, "Tool usage details"). A kind that nobody here knows is
counted too: a price that has no fee for it says so, instead of a charge that is not noticed.
"""

from dataclasses import dataclass

from pricing.meters import UsageInvalid
from pricing.usage.counts import Counters, calls_by_kind

FILE_SEARCH = "file_search"
CODE_INTERPRETER = "code_interpreter"

_COUNTED_IN = ("server_tool_use", "server_side_tool_usage_details")
_ENDINGS = ("_requests", "_calls")
_SEARCHES = ("web_search", "x_search")
# Billed by their tokens alone: Anthropic, "Web fetch tool" and "Tool search tool"; xAI, "Remote MCP
# tools". OpenAI's guide "MCP and connectors" has the same.
_FREE = ("web_fetch", "tool_search", "mcp")
_SOURCES = "num_sources_used"
_LIVE_SEARCH = "live_search_source"
CALL_KEYS = (*_COUNTED_IN, _SOURCES)
"""Where a usage object counts calls."""
_KINDS_MAX = 64


@dataclass(frozen=True, slots=True)
class Calls:
    """`searches` of the web, and the other calls as `Facts.tools` has them."""

    searches: int = 0
    by_kind: tuple[tuple[str, int], ...] = ()

    @property
    def tool_calls(self) -> int:
        return sum(count for _, count in self.by_kind)


def counts_calls(usage: Counters) -> bool:
    """Whether a usage object counts calls at all, and the items of the answer need not be."""
    return any(usage.values.get(name) is not None for name in _COUNTED_IN)


def calls_in_usage(usage: Counters) -> Calls:
    """The calls that a usage object counts. Raises UsageInvalid."""
    searches, kinds = 0, {_LIVE_SEARCH: usage.count(_SOURCES)}
    for name in _COUNTED_IN:
        counted = usage.inside(name)
        if len(counted.values) > _KINDS_MAX:
            raise UsageInvalid(f"{name} has more than {_KINDS_MAX} counters")
        for key in counted.values:
            kind = _kind(key)
            if kind in _SEARCHES:
                searches += counted.count(key)
            elif kind and kind not in _FREE:
                kinds[kind] = kinds.get(kind, 0) + counted.count(key)
    return Calls(searches, calls_by_kind(kinds))


def _kind(key: str) -> str:
    """The tool of a counter such as `web_search_requests`; "" for what counts no calls."""
    for ending in _ENDINGS:
        if key.endswith(ending):
            return key.removesuffix(ending)
    return ""
