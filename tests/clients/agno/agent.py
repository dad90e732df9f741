"""An Agno agent of two steps, streamed."""

import json
import os
import sys

from agno.agent import Agent
from agno.models.openai import OpenAIChat


def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


model = OpenAIChat(id=os.environ["MODEL"])  # OPENAI_BASE_URL, OPENAI_API_KEY
agent = Agent(model=model, tools=[stock], telemetry=False)
answer = ""
for event in agent.run('How much "tea" is left?', stream=True):
    if event.event == "RunError":  # it does not raise
        sys.exit(event.content)
    if event.event == "RunContent":
        answer += event.content or ""
print(json.dumps({"answer": answer}))
