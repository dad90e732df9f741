"""A LlamaIndex agent of two steps, streamed."""

import asyncio
import json
import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike


def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


async def main() -> None:
    model = OpenAILike(
        model=os.environ["MODEL"],
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
    )
    agent = FunctionAgent(tools=[stock], llm=model)
    print(json.dumps({"answer": str(await agent.run('How much "tea" is left?'))}))


asyncio.run(main())
