"""GET /v1/models: what a key may use, in the shape that its client knows.

Anthropic's clients name a version of its API in each request, nobody else does: they get
Anthropic's shape (API reference, "List Models"), and of the models those that speak Messages.
"""

from collections.abc import Mapping
from typing import Any

from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.dialects import CHAT, MESSAGES, Dialect
from gateway.endpoints import checked_path, respond_json
from gateway.parts import Parts
from gateway.request import Request
from gateway.routes import Route

MODELS_PATH = "/v1/models"
_RELEASED = "1970-01-01T00:00:00Z"
"""When a model came out is not known here; Anthropic's reference has the epoch for that."""


def dialect_of_lists(headers: Mapping[bytes, bytes]) -> Dialect:
    """In whose shape lists of models and their errors are told."""
    return MESSAGES if b"anthropic-version" in headers else CHAT


class Models:
    """The list; with prices in nano-dollars per million tokens beside OpenAI's fields."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """Only the models that this key may use. One page has them all."""
        await checked_path(self._parts, path)
        if dialect_of_lists(request.headers) is CHAT:
            routes = self._parts.routes.models(key)
            await respond_json(request, {"object": "list", "data": [_openai(r) for r in routes]})
            return
        routes = self._parts.routes.models(key, MESSAGES.endpoint)
        first, last = (routes[0].name, routes[-1].name) if routes else (None, None)
        data = [_anthropic(route) for route in routes]
        page = {"data": data, "has_more": False, "first_id": first, "last_id": last}
        await respond_json(request, page)


class Model:
    """GET /v1/models/{id}: one of the list."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """Raises NotFound, NotAllowed."""
        name = request.path.removeprefix(MODELS_PATH + "/")
        routes = self._parts.routes
        if dialect_of_lists(request.headers) is CHAT:
            shown = _openai(routes.named(key, name))
        else:
            shown = _anthropic(routes.find(key, name, MESSAGES.endpoint).deployments[0])
        await checked_path(self._parts, path)
        await respond_json(request, shown)


def _openai(route: Route) -> dict[str, Any]:
    return {
        "id": route.name,
        "object": "model",
        "created": 0,
        "owned_by": route.provider,
        "max_input_tokens": route.price.max_input_tokens,
        "max_output_tokens": route.price.max_output_tokens,
        "input_nusd_per_mtok": route.price.rates.input_nusd_per_mtok,
        "output_nusd_per_mtok": route.price.rates.output_nusd_per_mtok,
    }


def _anthropic(route: Route) -> dict[str, Any]:
    return {
        "type": "model",
        "id": route.name,
        "display_name": route.name,
        "created_at": _RELEASED,
        "lifecycle": "active",
        "max_input_tokens": route.price.max_input_tokens,
        "max_tokens": route.price.max_output_tokens,
    }
