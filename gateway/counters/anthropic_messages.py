"""Anthropic's `POST /v1/messages/count_tokens` (API reference, "Count tokens in a Message").

It takes the fields of `POST /v1/messages` that are part of the prompt and answers
`{"input_tokens": 14}`. Its guide "Token counting" calls the number an estimate, which may differ
from the bill by a small amount.
"""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.counters.contract import CountUnusable, joined, kept, whole_count

VERSION = b"2023-06-01"
_FIELDS = (
    *("messages", "system", "tools", "tool_choice", "thinking", "cache_control"),
    "output_config",
)


class _Answer(msgspec.Struct):
    input_tokens: object = None


class AnthropicMessagesCounter:
    """See Counter."""

    endpoint = "/v1/messages"

    def target(self, base_path: bytes, model: str) -> bytes:  # noqa: ARG002  # it is in the body
        """See Counter. An `api_base` may end with the version or leave it out."""
        return base_path.removesuffix(b"/v1") + b"/v1/messages/count_tokens"

    def headers(self, secret: str) -> list[tuple[bytes, bytes]]:
        """See Counter."""
        version = [(b"anthropic-version", VERSION)]
        return [*version, (b"x-api-key", secret.encode())] if secret else version

    def of_request(self, model: str, fields: Mapping[str, msgspec.Raw]) -> bytes:
        """See Counter."""
        return msgspec.json.encode({"model": model, **kept(fields, _FIELDS)})

    def of_texts(self, model: str, texts: Sequence[str]) -> bytes:
        """See Counter."""
        message = {"role": "user", "content": joined(texts)}
        return msgspec.json.encode({"model": model, "messages": [message]})

    def tokens(self, answer: bytes) -> int:
        """See Counter."""
        try:
            return whole_count(msgspec.json.decode(answer, type=_Answer).input_tokens)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise CountUnusable("its answer is not what it should be") from None
