"""POST /v1/messages/count_tokens: how many input tokens a message would have, as its provider says.

It costs nothing (Anthropic, guide "Token counting": free, with a rate limit of its own), so nothing
is reserved and nothing is recorded. It takes a key whose path is open, as the list of models does.
"""

from collections.abc import Mapping

import msgspec

from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.dialects import MESSAGES
from gateway.dialects.jsonbody import model_name, parse_object
from gateway.dialects.messages_betas import spoken
from gateway.endpoints import checked_path
from gateway.errors import InvalidRequest, NotFound
from gateway.parts import Parts
from gateway.request import Request
from gateway.routes import Route
from gateway.subscopes import counting_at
from gateway.unbilled import pass_on
from gateway.upstream import HeaderBlock, UpstreamRequest

BELOW_MESSAGES = b"/count_tokens"
COUNT_TOKENS_PATH = MESSAGES.endpoint + BELOW_MESSAGES.decode()
# What Anthropic's SDK sends (anthropic-sdk-python, `types/beta/message_count_tokens_params.py`; its
# older releases `output_format`); all else could be anything to somebody's server.
FIELDS = frozenset(
    (
        *("model", "messages", "system", "tools", "tool_choice", "thinking", "cache_control"),
        *("output_config", "output_format", "speed", "context_management", "compaction"),
        *("mcp_servers", "billing_policy"),
    )
)


class CountTokens:
    """Asks the provider of the model."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """`{"input_tokens"}`, or the provider's own refusal."""
        parts = self._parts
        body = await request.body(parts.options.body_bytes_max)
        fields = parse_object(body)
        for name in sorted(fields.keys() - FIELDS):
            raise InvalidRequest(
                f"{name} is no field of {COUNT_TOKENS_PATH}: remove it", param=name
            )
        route = parts.routes.find(key, model_name(fields), MESSAGES.endpoint).deployments[0]
        if route.translation is not None:
            raise NotFound(f"the provider of {route.name} does not count tokens: send the message")
        path = counting_at(request, key, path, None)
        await checked_path(parts, path, route.name)
        await pass_on(request, route, _asked(route, fields, request.headers))


def _asked(
    route: Route, fields: dict[str, msgspec.Raw], headers: Mapping[bytes, bytes]
) -> UpstreamRequest:
    named = fields | {"model": msgspec.Raw(msgspec.json.encode(route.model))}
    return UpstreamRequest(
        route.origin,
        "POST",
        route.target + BELOW_MESSAGES,
        HeaderBlock(route.headers + spoken(headers).headers),
        msgspec.json.encode(named),
        route.timeouts,
    )
