"""GET /v1/models: what a key may use, in OpenAI's shape."""

from typing import Any

from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, PROVIDER_SECRET
from tests.gateway.stack import Stack


async def models_of(stack: Stack, secret: str) -> list[dict[str, Any]]:
    """The list."""
    answer = await stack.get(secret, "/v1/models")
    assert answer.status_code == 200
    document = answer.json()
    assert document["object"] == "list"
    data: list[dict[str, Any]] = document["data"]
    return data


async def test_models_have_openais_shape_and_a_price(stack: Stack) -> None:
    """id, object, created, owned_by; limits and prices beside; nothing of where they are served."""
    models = {model["id"]: model for model in await models_of(stack, await stack.key())}
    assert {"plain", "dear", "demo/small", "demo/large", "demo/embedder"} <= set(models)
    plain = models["plain"]
    assert plain["object"] == "model"
    assert isinstance(plain["created"], int)
    assert isinstance(plain["owned_by"], str)
    assert (plain["max_input_tokens"], plain["max_output_tokens"]) == (128_000, 16_384)
    assert plain["input_nusd_per_mtok"] == INPUT_NUSD * 10**6
    assert plain["output_nusd_per_mtok"] == OUTPUT_NUSD * 10**6
    shown = repr(models)
    for private in (PROVIDER_SECRET, "127.0.0.1", "upstream-model", str(stack.provider.port)):
        assert private not in shown


async def test_a_key_sees_its_own_models_only(stack: Stack) -> None:
    """The list is that of the models which a call would not refuse."""
    secret = await stack.key(models=("demo/*", "plain"))
    names = {model["id"] for model in await models_of(stack, secret)}
    assert names == {"demo/small", "demo/large", "demo/reasoner", "demo/embedder", "plain"}


async def test_listing_changes_nothing(stack: Stack) -> None:
    """No event, no counter, nothing forwarded."""
    secret = await stack.key(budget=[{"requests": 1}])
    await models_of(stack, secret)
    before = await stack.ledger.state()
    for _ in range(5):
        await models_of(stack, secret)
    assert await stack.ledger.state() == before
    assert stack.provider.received == []


async def test_an_exhausted_key_can_still_read(stack: Stack) -> None:
    """A budget that is gone stops calls, not questions about it."""
    secret = await stack.key(budget=[{"requests": 0}])
    assert (await stack.chat(secret)).status_code == 402
    assert await models_of(stack, secret)
    assert (await stack.get(secret, "/v1/budget")).status_code == 200
