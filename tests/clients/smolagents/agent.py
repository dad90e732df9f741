"""A smolagents agent of two steps, streamed."""

import json
import os

from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def stock(item: str) -> str:
    """How much of an item is in stock.

    Args:
        item: its name.
    """
    return f'"17 boxes of {item}"'


model = OpenAIModel(
    os.environ["MODEL"],
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
)
agent = ToolCallingAgent([stock], model, stream_outputs=True, verbosity_level=0)
print(json.dumps({"answer": str(agent.run('How much "tea" is left?'))}))
