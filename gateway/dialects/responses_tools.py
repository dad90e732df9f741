"""Which tools of a responses request cost what, beside the tokens that they are written in.

The list is that of OpenAI's API reference, "Create a model response", as of November 2026. A tool
is the client's to run, or the provider's. What the provider runs it runs in rounds: it reads all
input again after each call, and `max_tool_calls` bounds how many there are.

    function, custom, namespace, tool_search (by the client)     seen, nothing to add
    local_shell, apply_patch, computer, shell (local)            run by the client, but described to
                                                                 the model by the provider: unseen
    web_search, web_search_preview                               rounds, a fee for each search
    mcp, tool_search (by the server)                             refused: `max_tool_calls` is for
                                                                 built-in tools, and no page says
                                                                 that these are among them
    file_search, code_interpreter, image_generation, shell (in a container), anything else: refused;
                                                                 billed by what has no bound here

In an item of the input the provider may hold a tool for the responses that go on from this one,
which say nothing of it: there, only what the client runs.
"""

import re
from typing import Any, TypeGuard

from gateway.errors import InvalidRequest, NotPriced

TOOLS_MAX = 4_096
"""Tools of a request, those in namespaces included; OpenAI allows far fewer."""

_SEEN = frozenset(("function", "custom"))
_DESCRIBED = frozenset(("local_shell", "apply_patch", "computer", "computer_use_preview"))
_SEARCH = re.compile(r"web_search(_preview)?(_20[0-9]{2}_[0-9]{2}_[0-9]{2})?", re.ASCII)
_KIND_CHARS_SHOWN = 64


class ToolsBound:
    """Takes in the tools of a request, wherever they stand. `count`: how many; `unseen`: whether
    the prompt has more of them than the request; `runs`: whether the provider runs some itself;
    `searches`: whether it may search the web."""

    __slots__ = ("count", "runs", "searches", "unseen")

    def __init__(self) -> None:
        self.count = 0
        self.unseen = False
        self.runs = False
        self.searches = False

    def take(self, tools: list[dict[str, Any]], *, in_item: bool = False) -> None:
        """Raises NotPriced for a tool that could bill what nobody can bound."""
        for tool in tools:
            self._take(tool, in_item=in_item)
        if self.count > TOOLS_MAX:
            raise InvalidRequest(f"there are more than {TOOLS_MAX} tools", param="tools")

    def _take(self, tool: dict[str, Any], *, in_item: bool) -> None:
        kind = tool.get("type")
        self.count += 1
        if not isinstance(kind, str):
            raise NotPriced("tools: each tool has a type", param="tools")
        if kind == "namespace":
            self._take_namespace(tool)
        elif kind in _SEEN or (kind == "tool_search" and tool.get("execution") == "client"):
            return
        elif _SEARCH.fullmatch(kind) and not in_item:
            self.runs = self.searches = self.unseen = True
        elif kind in _DESCRIBED or (kind == "shell" and _is_local(tool.get("environment"))):
            self.unseen = True
        else:
            where = ", in an item of the input," if in_item else ""
            raise NotPriced(
                f"tools: {kind[:_KIND_CHARS_SHOWN]}{where} is run by the provider and billed by "
                "what has no bound here: remove it, or give the model a function of your own",
                param="tools",
            )

    def _take_namespace(self, tool: dict[str, Any]) -> None:
        inner = tool.get("tools")
        if not is_tools(inner) or any(_is_odd(each) for each in inner):
            raise InvalidRequest("the tools of a namespace are functions or custom", param="tools")
        self.count += len(inner)


def is_tools(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether this is a list of objects."""
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _is_local(environment: Any) -> bool:
    return isinstance(environment, dict) and environment.get("type") == "local"


def _is_odd(tool: dict[str, Any]) -> bool:
    kind = tool.get("type")
    return not isinstance(kind, str) or kind not in _SEEN
