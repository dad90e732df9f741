"""An AutoGen clerk: reads the step's input, asks, looks into the stock, answers."""

import asyncio
import json
import os
from pathlib import Path

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelFamily
from autogen_ext.models.openai import OpenAIChatCompletionClient

STOCK = {"tea": 17, "coffee": 4}


async def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"{STOCK.get(item, 0)} boxes of {item}"


async def answer(item: str) -> str:
    model = OpenAIChatCompletionClient(  # OPENAI_BASE_URL and OPENAI_API_KEY are the step's
        model="demo/small",
        max_tokens=200,
        model_info={  # it knows OpenAI's names only
            "family": ModelFamily.UNKNOWN,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
            "vision": False,
        },
    )
    clerk = AssistantAgent("clerk", model, tools=[stock], reflect_on_tool_use=True)
    result = await clerk.run(task=f'How much "{item}" is left?')
    return result.messages[-1].content


given = json.loads(Path(os.environ["COMPTROLLER_INPUT"]).read_text())
output = {"item": given["item"], "answer": asyncio.run(answer(given["item"]))}
Path(os.environ["COMPTROLLER_OUTPUT"]).write_text(json.dumps(output))
