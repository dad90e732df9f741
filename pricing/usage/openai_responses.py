"""OpenAI's responses, and xAI's.

Source: OpenAI's API reference, "The response object". Its usage does not count the calls of tools:
they are items of the output (OpenAI, guide "Web search": search actions are billed, opening a page
is not; pricing page, "Built-in tools": file search by the call, code interpreter by the container).
"""

from collections.abc import Mapping, Sequence

from pricing.facts import Facts, Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output, calls_by_kind
from pricing.usage.openai_tokens import RESPONSES, read_tokens
from pricing.usage.server_tools import (
    CODE_INTERPRETER,
    FILE_SEARCH,
    Calls,
    calls_in_usage,
    counts_calls,
)

_SEARCH_ITEM = "web_search_call"
_CONTAINER_ITEMS = ("code_interpreter_call", "shell_call")
_FILE_SEARCH_ITEM = "file_search_call"
_IMAGE_ITEM = "image_generation_call"  # billed by the image model, in no counter of this usage
_UNBILLED_ACTIONS = ("open_page", "find_in_page", "find")


def _recognises(usage: Mapping[str, object]) -> bool:
    return "input_tokens" in usage and "output_tokens" in usage


def _read(usage: Counters, output: Output) -> Used:
    if output is None or counts_calls(usage):
        calls = calls_in_usage(usage)
    else:
        calls = _calls_in_output(output)
    meters, tier = read_tokens(usage, RESPONSES), usage.text("service_tier")
    if calls.searches or calls.tool_calls:
        called = Meters(search_calls=calls.searches, tool_calls=calls.tool_calls)
        meters = meters.plus(called)
    elif not tier:
        return Used(meters)
    return Used(meters, Facts(service_tier=tier, tools=calls.by_kind))


def _calls_in_output(output: Sequence[Mapping[str, object]]) -> Calls:
    searches, files, images = 0, 0, 0
    containers: set[str] = set()
    for at, item in enumerate(output):
        kind = item.get("type")
        if kind == _SEARCH_ITEM:
            searches += int(_is_billed_search(item))
        elif kind == _FILE_SEARCH_ITEM:
            files += 1
        elif kind == _IMAGE_ITEM:
            images += 1
        elif kind in _CONTAINER_ITEMS:
            containers.add(str(item.get("container_id") or f"item {at}"))
    kinds = {FILE_SEARCH: files, CODE_INTERPRETER: len(containers), "image_generation": images}
    return Calls(searches, calls_by_kind(kinds))


def _is_billed_search(item: Mapping[str, object]) -> bool:
    action = item.get("action")
    return not isinstance(action, Mapping) or action.get("type") not in _UNBILLED_ACTIONS


API = Api("openai-responses", _recognises, _read)
