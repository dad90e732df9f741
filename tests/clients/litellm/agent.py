"""An agent of two steps, streamed. `openai/` before the model says which API it is asked in."""

import json
import os

import litellm

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


messages = [{"role": "user", "content": 'How much "tea" is left?'}]
while True:
    stream = litellm.completion(  # OPENAI_BASE_URL, OPENAI_API_KEY
        model=f"openai/{os.environ['MODEL']}", messages=messages, tools=[TOOL], stream=True
    )
    message = litellm.stream_chunk_builder(list(stream), messages=messages).choices[0].message
    messages.append(message.model_dump(exclude_none=True))
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        result = stock(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(json.dumps({"answer": message.content}))
