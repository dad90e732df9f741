"""An agent of two steps on chat completions, streamed."""

import json
import os

from openai import OpenAI

TOOL = {
    "type": "function",
    "function": {
        "name": "stock",
        "description": "How much of an item is in stock.",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}},
            "required": ["item"],
        },
    },
}


def stock(item: str) -> str:
    return f"17 boxes of {item}"


client = OpenAI()  # OPENAI_BASE_URL, OPENAI_API_KEY
messages = [{"role": "user", "content": 'How much "tea" is left?'}]
while True:
    with client.chat.completions.stream(
        model=os.environ["MODEL"], messages=messages, tools=[TOOL]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    messages.append(message.to_dict())
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        result = stock(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(json.dumps({"answer": message.content}))
