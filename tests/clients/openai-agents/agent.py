"""An agent of two steps with OpenAI's agents library, streamed."""

import asyncio
import json
import os

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI


@function_tool
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


async def main() -> None:
    client = AsyncOpenAI()  # OPENAI_BASE_URL, OPENAI_API_KEY
    agent = Agent(
        name="clerk",
        # The model's name has a slash, which would choose a provider were it given alone.
        model=OpenAIResponsesModel(os.environ["MODEL"], client),
        model_settings=ModelSettings(store=False),
        tools=[stock],
    )
    result = Runner.run_streamed(agent, 'How much "tea" is left?')
    async for _ in result.stream_events():
        pass
    print(json.dumps({"answer": result.final_output}))


asyncio.run(main())
