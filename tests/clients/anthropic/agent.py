"""An agent of two steps on Anthropic's Messages, streamed."""

import json
import os

from anthropic import Anthropic

TOOL = {
    "name": "stock",
    "description": "How much of an item is in stock.",
    "input_schema": {
        "type": "object",
        "properties": {"item": {"type": "string"}},
        "required": ["item"],
    },
}


def stock(item: str) -> str:
    return f"17 boxes of {item}"


client = Anthropic()  # ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY
messages = [{"role": "user", "content": 'How much "tea" is left?'}]
while True:
    with client.messages.stream(
        model=os.environ["MODEL"], max_tokens=1024, messages=messages, tools=[TOOL]
    ) as stream:
        message = stream.get_final_message()
    messages.append({"role": "assistant", "content": message.content})
    calls = [block for block in message.content if block.type == "tool_use"]
    if not calls:
        break
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": stock(**call.input)}
        for call in calls
    ]
    messages.append({"role": "user", "content": results})
print(json.dumps({"answer": message.content[0].text}))
