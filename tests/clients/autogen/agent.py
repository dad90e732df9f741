"""An AutoGen agent of two steps, streamed."""

import asyncio
import json
import os

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelFamily
from autogen_ext.models.openai import OpenAIChatCompletionClient


async def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


async def main() -> None:
    model = OpenAIChatCompletionClient(  # OPENAI_BASE_URL, OPENAI_API_KEY
        model=os.environ["MODEL"],
        model_info={  # it knows OpenAI's names only
            "family": ModelFamily.UNKNOWN,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
            "vision": False,
        },
    )
    agent = AssistantAgent(
        "clerk", model, tools=[stock], reflect_on_tool_use=True, model_client_stream=True
    )
    result = await agent.run(task='How much "tea" is left?')
    print(json.dumps({"answer": result.messages[-1].content}))


asyncio.run(main())
