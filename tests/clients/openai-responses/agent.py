"""An agent of two steps on the Responses API, streamed."""

import json
import os

from openai import OpenAI

TOOL = {
    "type": "function",
    "name": "stock",
    "description": "How much of an item is in stock.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"item": {"type": "string"}},
        "required": ["item"],
        "additionalProperties": False,
    },
}


def stock(item: str) -> str:
    return f"17 boxes of {item}"


client = OpenAI()  # OPENAI_BASE_URL, OPENAI_API_KEY
items = [{"role": "user", "content": 'How much "tea" is left?'}]
while True:
    with client.responses.stream(
        model=os.environ["MODEL"], input=items, tools=[TOOL], store=False
    ) as stream:
        response = stream.get_final_response()
    items += [item.to_dict() for item in response.output]
    calls = [item for item in response.output if item.type == "function_call"]
    if not calls:
        break
    for call in calls:
        result = stock(**json.loads(call.arguments))
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
print(json.dumps({"answer": response.output_text}))
