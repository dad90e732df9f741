"""OpenAI's `POST /v1/responses/input_tokens` (API reference, "Get input token counts").

It takes what `POST /v1/responses` takes and answers
`{"object": "response.input_tokens", "input_tokens": 11}`.
"""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.counters.contract import CountUnusable, joined, kept, whole_count

_FIELDS = (
    *("input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text"),
    *("reasoning", "conversation", "previous_response_id", "truncation"),
)


class _Answer(msgspec.Struct):
    input_tokens: object = None


class OpenAIResponsesCounter:
    """See Counter."""

    endpoint = "/v1/responses"

    def target(self, base_path: bytes, model: str) -> bytes:  # noqa: ARG002  # it is in the body
        """See Counter."""
        return base_path + b"/responses/input_tokens"

    def headers(self, secret: str) -> list[tuple[bytes, bytes]]:
        """See Counter."""
        return [(b"authorization", b"Bearer " + secret.encode())] if secret else []

    def of_request(self, model: str, fields: Mapping[str, msgspec.Raw]) -> bytes:
        """See Counter."""
        return msgspec.json.encode({"model": model, **kept(fields, _FIELDS)})

    def of_texts(self, model: str, texts: Sequence[str]) -> bytes:
        """See Counter."""
        return msgspec.json.encode({"model": model, "input": joined(texts)})

    def tokens(self, answer: bytes) -> int:
        """See Counter."""
        try:
            return whole_count(msgspec.json.decode(answer, type=_Answer).input_tokens)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise CountUnusable("its answer is not what it should be") from None
