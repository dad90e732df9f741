"""A LangGraph agent of two steps, streamed."""

import json
import os

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


model = ChatOpenAI(model=os.environ["MODEL"], streaming=True)  # OPENAI_BASE_URL, OPENAI_API_KEY
agent = create_agent(model, tools=[stock])
result = agent.invoke({"messages": [{"role": "user", "content": 'How much "tea" is left?'}]})
print(json.dumps({"answer": result["messages"][-1].content}))
