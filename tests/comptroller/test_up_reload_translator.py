"""A reload begins and ends the translator in a stack that has a recorder, as stacks do."""

import asyncio

import pytest

from tests.comptroller.reloading import nusd, reloading
from tests.gateway.behaviours import held
from tests.gateway.processes import all_gone, free_port
from tests.translator import wires
from tests.translator.standing import NEEDS_LITELLM, FixedProvider, model_list


@NEEDS_LITELLM
@pytest.mark.timeout(240)
async def test_the_translator_comes_and_goes_with_its_models() -> None:
    """It is there when the reload that needs it has answered. One that needs it no more lets the
    request in flight end, at its price, and then the process, while new ones are told 404."""
    provider = FixedProvider(wires.speaks(wires.gemini()), free_port())
    await provider.start()
    (gemini,) = [each for each in model_list(provider.port) if each["model_name"] == "gemini"]
    gate = asyncio.Event()
    try:
        async with reloading(record=True) as stack:
            running = stack.running
            assert not running.parts("comptroller.translate")
            await stack.reload(model_list=[stack.entry, gemini])
            (pid,) = running.parts("comptroller.translate")
            assert (await stack.ask("gemini")).status == 200
            provider.behaviour = held(gate, wires.speaks(wires.gemini()))
            in_flight = asyncio.create_task(stack.ask("gemini"))
            await provider.arrivals(2)
            await stack.reload(model_list=[stack.entry])
            assert (await stack.ask("gemini")).status == 404
            assert running.parts("comptroller.translate") == {pid}
            gate.set()
            answer = await in_flight
            assert answer.status == 200
            assert nusd(answer.headers["x-comptroller-cost-usd"]) == 11 * 1_000 + 12 * 2_000
            await all_gone([pid])
    finally:
        await provider.stop()
