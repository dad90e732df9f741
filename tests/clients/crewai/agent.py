"""A crew of one, two steps, streamed."""

import json
import os

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("stock")
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


model = LLM(  # OPENAI_API_KEY
    model=os.environ["MODEL"],
    provider="openai",
    base_url=os.environ["OPENAI_BASE_URL"],
    stream=True,
)
clerk = Agent(role="clerk", goal="answer", backstory="keeps the stock", llm=model, tools=[stock])
task = Task(description='How much "tea" is left?', expected_output="a number", agent=clerk)
print(json.dumps({"answer": Crew(agents=[clerk], tasks=[task]).kickoff().raw}))
