"""A clerk as a LangGraph graph: reads the step's input, asks, looks into the stock, answers."""

import json
import os
from pathlib import Path

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

STOCK = {"tea": 17, "coffee": 4}


@tool
def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"{STOCK.get(item, 0)} boxes of {item}"


# It has OPENAI_BASE_URL and OPENAI_API_KEY of the step.
model = ChatOpenAI(model="demo/small", max_tokens=200).bind_tools([stock])


def clerk(state: MessagesState) -> MessagesState:
    return {"messages": [model.invoke(state["messages"])]}


given = json.loads(Path(os.environ["COMPTROLLER_INPUT"]).read_text())
graph = StateGraph(MessagesState)
graph.add_node("clerk", clerk)
graph.add_node("tools", ToolNode([stock]))
graph.add_edge(START, "clerk")
graph.add_conditional_edges("clerk", tools_condition)
graph.add_edge("tools", "clerk")
question = {"role": "user", "content": f'How much "{given["item"]}" is left?'}
result = graph.compile().invoke({"messages": [question]})
output = {"item": given["item"], "answer": result["messages"][-1].content}
Path(os.environ["COMPTROLLER_OUTPUT"]).write_text(json.dumps(output))
