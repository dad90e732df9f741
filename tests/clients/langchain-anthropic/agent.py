"""A LangGraph agent of two steps on Anthropic's Messages, streamed."""

import json
import os

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool


@tool
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


model = ChatAnthropic(model=os.environ["MODEL"], streaming=True)  # ANTHROPIC_BASE_URL, _API_KEY
agent = create_agent(model, tools=[stock])
result = agent.invoke({"messages": [{"role": "user", "content": 'How much "tea" is left?'}]})
print(json.dumps({"answer": result["messages"][-1].text}))
