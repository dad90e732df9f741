"""A Pydantic AI agent of two steps, streamed."""

import asyncio
import json
import os

from pydantic_ai import Agent

agent = Agent(f"openai:{os.environ['MODEL']}")  # OPENAI_BASE_URL, OPENAI_API_KEY


@agent.tool_plain
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


async def main() -> None:
    async with agent.run_stream('How much "tea" is left?') as result:
        print(json.dumps({"answer": await result.get_output()}))


asyncio.run(main())
