"""How much text there is in a request, in OpenAI's shape or any provider's, by one measure.

The gateway has reserved for the texts of the request that it sent here. LiteLLM moves them into
other places and must not add to them, so both bodies are measured alike: every text by its bytes
(`pricing.text_tokens_max`), and every name that is no word of a wire format (names of properties in
schemas are content, `contents` and `parts` are not).
"""

from collections import Counter
from typing import Any

from pricing import overhead_tokens, text_tokens_max

MARK_BYTES_MAX = 64
"""A mark longer than this is a text."""

WIRE_WORDS = frozenset(
    (
        # OpenAI's chat completions, and everybody's who speaks them
        *("messages", "role", "content", "type", "text", "name", "model", "stream", "tools"),
        *("function", "parameters", "description", "tool_calls", "tool_call_id", "arguments", "id"),
        *("tool_choice", "parallel_tool_calls", "response_format", "json_schema", "schema"),
        *("strict", "stream_options", "include_usage", "max_tokens", "max_completion_tokens", "n"),
        *("temperature", "top_p", "top_k", "stop", "seed", "user", "image_url", "url", "detail"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("reasoning_effort", "cache_control", "ttl", "random_seed", "safe_prompt"),
        # JSON Schema
        *("properties", "required", "items", "enum", "anyOf", "any_of", "additionalProperties"),
        # Google's generateContent, in both of its spellings
        *("contents", "parts", "inline_data", "inlineData", "data", "mime_type", "mimeType"),
        *("function_call", "functionCall", "args", "function_response", "functionResponse"),
        *("response", "system_instruction", "systemInstruction", "function_declarations"),
        *("functionDeclarations", "generationConfig", "generation_config", "max_output_tokens"),
        *("maxOutputTokens", "candidate_count", "candidateCount", "stop_sequences"),
        *("stopSequences", "topP", "topK", "response_mime_type", "responseMimeType"),
        *("response_schema", "responseSchema", "response_json_schema", "responseJsonSchema"),
        *("toolConfig", "tool_config", "functionCallingConfig", "function_calling_config"),
        *("mode", "allowed_function_names", "allowedFunctionNames", "thinkingConfig"),
        *("thinking_config", "includeThoughts", "thinkingBudget", "thinkingLevel"),
        *("presencePenalty", "frequencyPenalty", "responseLogprobs", "property_ordering"),
        *("propertyOrdering", "thoughtSignature"),
        # Amazon Bedrock's Converse
        *("inferenceConfig", "maxTokens", "system", "toolSpec", "inputSchema", "json", "image"),
        *("source", "bytes", "format", "toolUse", "toolUseId", "input", "toolResult", "status"),
        *("toolChoice", "auto", "any", "tool", "additionalModelRequestFields", "cachePoint"),
        # Anthropic's messages
        *("input_schema", "tool_use", "tool_use_id", "media_type", "anthropic_version"),
        *("thinking", "budget_tokens", "is_error", "disable_parallel_tool_use", "metadata"),
        # Cohere's chat
        *("k", "p", "safety_mode"),
    )
)
MARKS = frozenset(
    (
        *("role", "type", "mode", "format", "mime_type", "mimeType", "media_type", "model"),
        *("anthropic_version", "response_mime_type", "responseMimeType", "detail", "safety_mode"),
        *("reasoning_effort", "thinkingLevel", "status"),
    )
)
"""Whose values are words of a wire format; what a message or a tool costs beside its texts is for
them."""


def texts_tokens(body: Any, pictures: "Counter[str]") -> int:  # noqa: ANN401  # any JSON value
    """The measure. `pictures` are base64 as the caller has sent it: each counts nothing as often
    as it was sent."""
    left = Counter(pictures)
    tokens = 0
    waiting: list[tuple[str, Any]] = [("", body)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            tokens += _text_tokens(name, value, left)
        elif isinstance(value, list):
            waiting += [(name, each) for each in value]
        elif isinstance(value, dict):
            tokens += sum(text_tokens_max(key) for key in value if key not in WIRE_WORDS)
            waiting += value.items()
    return tokens


def _text_tokens(name: str, value: str, pictures: "Counter[str]") -> int:
    if name in MARKS and len(value) <= MARK_BYTES_MAX:
        return 0
    picture = payload_of(value) or value
    if pictures.get(picture):
        pictures[picture] -= 1
        return 0
    return text_tokens_max(value)


def payload_of(url: str) -> str:
    """The base64 of a data URL; "" for any other text."""
    head, comma, payload = url.partition(",")
    return payload if comma and head.startswith("data:") and head.endswith(";base64") else ""


def tokens_reserved(fields: dict[str, Any], pictures: "Counter[str]") -> int:
    """What the gateway has reserved at least for a request by its bytes, pictures apart: texts, and
    the overheads of `pricing.overhead_tokens`."""
    messages = fields["messages"]
    tools = fields.get("tools") or ()
    return texts_tokens(fields, pictures) + overhead_tokens(
        messages=len(messages), tools=len(tools), images=pictures.total()
    )
