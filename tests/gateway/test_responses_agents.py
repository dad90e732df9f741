"""OpenAI's agents library with its defaults: an agent of two steps runs on the demo models."""

import openai
import pytest

from tests.gateway.stack import Stack

agents = pytest.importorskip("agents")


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_agent_of_two_steps_runs_and_pays(stack: Stack, streamed: bool) -> None:
    """It calls its tool, then answers with the result; each step is charged."""
    secret = await stack.key(budget=[{"usd": "1"}])
    asked: list[str] = []

    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    tool = agents.function_tool(weather)
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key=secret, http_client=http
    ) as client:
        model = agents.OpenAIResponsesModel(model="demo/small", openai_client=client)
        agent = agents.Agent(name="forecaster", instructions="be brief", model=model, tools=[tool])
        config = agents.RunConfig(tracing_disabled=True)
        if streamed:
            result = agents.Runner.run_streamed(agent, 'how is "Delft"?', run_config=config)
            kinds = [event.type async for event in result.stream_events()]
            assert "raw_response_event" in kinds
        else:
            result = await agents.Runner.run(agent, 'how is "Delft"?', run_config=config)
    assert asked == ["Delft"]
    assert "sunny" in result.final_output
    assert len(await stack.ledger.endings(2)) == 2
    assert await stack.ledger.spent() > 0
    await stack.ledger.at_rest()
