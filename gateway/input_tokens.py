"""POST /v1/responses/input_tokens: how many tokens a request's input is, as its provider says.

It costs nothing (OpenAI's API reference, "Get input token counts"), so it reserves nothing; but the
caller is authenticated, and may ask for its own models only.
"""

from typing import Any

import msgspec

from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.dialects import RESPONSES
from gateway.dialects.jsonbody import decoded, model_name, parse_object
from gateway.endpoints import checked_path
from gateway.errors import InvalidRequest, NotFound
from gateway.parts import Parts
from gateway.request import Request
from gateway.subscopes import counting_at
from gateway.unbilled import pass_on
from gateway.upstream import UpstreamRequest

PATH = "/v1/responses/input_tokens"
_SUFFIX = b"/input_tokens"
# What the reference lists; all else could be anything to somebody's server.
FIELDS = frozenset(
    (
        *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls"),
        *("text", "reasoning", "truncation", "personality", "previous_response_id"),
        *("conversation",),
    )
)


class InputTokens:
    """Asks the provider of the model's route."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """`{object: "response.input_tokens", input_tokens}`, as the provider says it."""
        parts = self._parts
        fields = parse_object(await request.body(parts.options.body_bytes_max))
        for name in sorted(fields.keys() - FIELDS):
            raise InvalidRequest(f"{name} is no field of {PATH}: remove it", param=name)
        _check_tools(decoded(fields, "tools"))
        route = parts.routes.find(key, model_name(fields), RESPONSES.endpoint).deployments[0]
        if route.translation is not None:
            raise NotFound(f"the server of {route.name} does not count tokens: send the request")
        path = counting_at(request, key, path, None)
        await checked_path(parts, path, route.name)
        fields["model"] = msgspec.Raw(msgspec.json.encode(route.model))
        body = msgspec.json.encode(fields)
        asked = UpstreamRequest(
            *(route.origin, "POST", route.target + _SUFFIX, route.headers, body), route.timeouts
        )
        await pass_on(request, route, asked)


def _check_tools(tools: Any) -> None:  # noqa: ANN401  # any JSON value
    if tools is not None and not isinstance(tools, list):
        raise InvalidRequest("tools is a list of tools", param="tools")
