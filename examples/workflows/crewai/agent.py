"""A crew of one: reads the step's input, asks, looks into the stock, answers."""

import json
import os
from pathlib import Path

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

STOCK = {"tea": 17, "coffee": 4}


@tool("stock")
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"{STOCK.get(item, 0)} boxes of {item}"


given = json.loads(Path(os.environ["COMPTROLLER_INPUT"]).read_text())
model = LLM(  # OPENAI_API_KEY is the step's
    model="demo/small",
    provider="openai",
    base_url=os.environ["OPENAI_BASE_URL"],
    max_tokens=200,
)
clerk = Agent(role="clerk", goal="answer", backstory="keeps the stock", llm=model, tools=[stock])
task = Task(
    description=f'How much "{given["item"]}" is left?', expected_output="a number", agent=clerk
)
result = Crew(agents=[clerk], tasks=[task]).kickoff()
output = {"item": given["item"], "answer": result.raw}
Path(os.environ["COMPTROLLER_OUTPUT"]).write_text(json.dumps(output))
