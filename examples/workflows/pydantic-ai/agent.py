"""A Pydantic AI clerk: reads the step's input, asks, looks into the stock, answers."""

import json
import os
from pathlib import Path

from pydantic_ai import Agent, ModelSettings

STOCK = {"tea": 17, "coffee": 4}

clerk = Agent(  # OPENAI_BASE_URL and OPENAI_API_KEY are the step's
    "openai:demo/small",
    instructions="You keep the stock. Look it up, and answer in a line.",
    model_settings=ModelSettings(max_tokens=200),
)


@clerk.tool_plain
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"{STOCK.get(item, 0)} boxes of {item}"


given = json.loads(Path(os.environ["COMPTROLLER_INPUT"]).read_text())
result = clerk.run_sync(f'How much "{given["item"]}" is left?')
output = {"item": given["item"], "answer": result.output}
Path(os.environ["COMPTROLLER_OUTPUT"]).write_text(json.dumps(output))
