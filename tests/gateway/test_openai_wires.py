"""Where OpenAI's API is spoken, by what LiteLLM's `model_info` says of a model."""

from typing import Any

import pytest

from gateway.providers import PROVIDERS

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
OPENAI = "api.openai.com"


@pytest.mark.parametrize(
    ("host", "info", "endpoints"),
    [
        (OPENAI, {}, [CHAT, RESPONSES]),
        (OPENAI, {"mode": "chat"}, [CHAT, RESPONSES]),
        (OPENAI, {"mode": "responses"}, [RESPONSES]),
        (OPENAI, {"supported_endpoints": [CHAT, "/v1/batch"]}, [CHAT]),
        (OPENAI, {"supported_endpoints": [CHAT, RESPONSES]}, [CHAT, RESPONSES]),
        (OPENAI, {"mode": "responses", "supported_endpoints": [RESPONSES]}, [RESPONSES]),
        (
            OPENAI,
            {"mode": "responses", "supported_endpoints": [CHAT, RESPONSES]},
            [CHAT, RESPONSES],
        ),
        (OPENAI, {"supported_endpoints": "x"}, [CHAT, RESPONSES]),
        ("vllm", {}, [CHAT]),
        ("vllm", {"supported_endpoints": [RESPONSES]}, [CHAT, RESPONSES]),
        ("vllm", {"supported_endpoints": [5, None]}, [CHAT]),
        ("vllm", {"mode": "responses"}, [RESPONSES]),
    ],
)
def test_what_a_server_speaks(host: str, info: dict[str, Any], endpoints: list[str]) -> None:
    """OpenAI speaks both; others chat, unless model_info says more. The caps are each one's own."""
    wires = {wire.endpoint: wire for wire in PROVIDERS["openai"].wires(host, info)}
    assert list(wires) == endpoints
    if RESPONSES in wires:
        assert wires[RESPONSES].cap_field == "max_output_tokens"
        assert wires[RESPONSES].target == b"/responses"
