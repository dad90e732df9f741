"""The tools of a Messages request: which of them can be priced before they are called.

Tools that the caller runs cost their tokens. Some of those have no schema in the request, because
the model has it: what that counts is Anthropic's to say. Tools that Anthropic runs are another
matter: each call is a turn of the model inside the one request, which reads all its input anew and
whatever the tool has found ("Server tools"), so that nothing in the request bounds what it costs.
"""

from typing import Any

from gateway.errors import InvalidRequest, NotPriced

TOOLS_MAX = 10_000
_CUSTOM = (None, "custom")
# Tokens of the schemas that models have: Anthropic's pages "Bash tool" (245), "Text editor tool"
# (700) and "Computer use tool" (735, and 499 of system prompt), twice, because later models make
# up to a third more tokens of a text.
_SCHEMA_TOKENS = (
    (("bash_20241022", "bash_20250124"), 512),
    (("text_editor_20241022", "text_editor_20250124"), 1_536),
    (("text_editor_20250429", "text_editor_20250728"), 1_536),
    (("computer_20241022", "computer_20250124", "computer_20251124"), 2_560),
)
_SCHEMAS = {name: tokens for names, tokens in _SCHEMA_TOKENS for name in names}
# Run by the caller as well, with a schema of which no page says how long it is.
_UNSEEN_SCHEMAS = ("memory_", "browser_toolset_", "computer_toolset_")
_SERVER_TOOLS = (
    *("web_search_", "web_fetch_", "code_execution_", "advisor_", "tool_search_tool_"),
    "mcp_toolset",
)


def checked_tools(tools: Any) -> list[dict[str, Any]]:
    """The tools of a request, none for null. Raises InvalidRequest, NotPriced."""
    if tools is None:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidRequest("tools is a list of tools", param="tools")
    if len(tools) > TOOLS_MAX:
        raise InvalidRequest(f"tools has more than {TOOLS_MAX} entries", param="tools")
    return tools


def schema_tokens(tool: dict[str, Any]) -> int | None:
    """What a tool counts beside what stands in the request; None where nobody knows. Raises
    NotPriced for one that Anthropic runs."""
    kind = tool.get("type")
    if kind in _CUSTOM:
        return 0
    if not isinstance(kind, str):
        raise InvalidRequest("the type of a tool is a name", param="tools")
    if kind in _SCHEMAS:
        return _SCHEMAS[kind]
    if kind.startswith(_UNSEEN_SCHEMAS):
        return None
    if kind.startswith(_SERVER_TOOLS):
        raise NotPriced(
            f"tool {kind[:64]!r} runs at the provider, which reads the whole input again after "
            "each call: nothing bounds that. Use a tool of your own",
            param="tools",
        )
    raise NotPriced(
        f"tool type {kind[:64]!r} is not known here, and may cost by the call: use tools of your "
        "own (type custom)",
        param="tools",
    )
