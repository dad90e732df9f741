"""A clerk on OpenAI's agents library: reads the step's input, asks, looks it up, answers."""

import asyncio
import json
import os
from pathlib import Path

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI

STOCK = {"tea": 17, "coffee": 4}


@function_tool
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"{STOCK.get(item, 0)} boxes of {item}"


async def answer(item: str) -> str:
    clerk = Agent(
        name="clerk",
        instructions="You keep the stock. Look it up, and answer in a line.",
        # The model's name has a slash, which would choose a provider were it given alone. The
        # client has OPENAI_BASE_URL and OPENAI_API_KEY of the step.
        model=OpenAIResponsesModel("demo/small", AsyncOpenAI()),
        model_settings=ModelSettings(store=False, max_tokens=200),
        tools=[stock],
    )
    result = await Runner.run(clerk, f'How much "{item}" is left?')
    return result.final_output


given = json.loads(Path(os.environ["COMPTROLLER_INPUT"]).read_text())
output = {"item": given["item"], "answer": asyncio.run(answer(given["item"]))}
Path(os.environ["COMPTROLLER_OUTPUT"]).write_text(json.dumps(output))
