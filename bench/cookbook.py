"""What OpenAI bills for a chat request's input, as its cookbook counts it.

"How to count tokens with tiktoken" works it out for gpt-4o and gpt-4, beside what the API billed.
An independent formula, to hold the product's bounds against: it stands on the tokenizer alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MESSAGE_TOKENS, NAME_TOKENS, ANSWER_TOKENS = 3, 1, 3
PROPERTIES_TOKENS, PROPERTY_TOKENS, ENUM_TOKENS, ENUM_ITEM_TOKENS = 3, 3, -3, 3
FUNCTION_TOKENS = {"o200k_base": 7, "cl100k_base": 10}
TOOLS_END_TOKENS = 12

Count = Callable[[str], int]


def messages_tokens(messages: Sequence[Mapping[str, Any]], count: Count) -> int:
    """Messages of plain texts, and what primes the answer."""
    tokens = ANSWER_TOKENS
    for message in messages:
        tokens += MESSAGE_TOKENS + (NAME_TOKENS if "name" in message else 0)
        tokens += sum(count(value) for value in message.values())
    return tokens


def tools_tokens(tools: Sequence[Mapping[str, Any]], encoding: str, count: Count) -> int:
    """Functions with flat parameters, each with a type and a description."""
    tokens = TOOLS_END_TOKENS if tools else 0
    for tool in tools:
        function = tool["function"]
        tokens += FUNCTION_TOKENS[encoding]
        tokens += count(f"{function['name']}:{function['description'].removesuffix('.')}")
        properties = function["parameters"]["properties"]
        tokens += PROPERTIES_TOKENS if properties else 0
        for name, value in properties.items():
            tokens += PROPERTY_TOKENS
            if "enum" in value:
                tokens += ENUM_TOKENS
                tokens += sum(ENUM_ITEM_TOKENS + count(item) for item in value["enum"])
            tokens += count(f"{name}:{value['type']}:{value['description'].removesuffix('.')}")
    return tokens
