"""Google's `POST /v1beta/models/{model}:countTokens` (Gemini API reference, "Counting tokens").

It takes a `generateContentRequest`, or `contents` alone, and answers `{"totalTokens": 10}`.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from gateway.counters.contract import CountUnusable, joined, kept, whole_count

_OPENAI_FORMAT = b"/openai"
_FIELDS = (
    *("contents", "systemInstruction", "system_instruction", "tools", "toolConfig"),
    *("tool_config", "generationConfig", "generation_config", "cachedContent", "cached_content"),
)


class _Answer(msgspec.Struct):
    totalTokens: object = None  # noqa: N815  # as Google writes it


class GoogleGenerateCounter:
    """See Counter."""

    endpoint = "/v1beta/models/{model}:generateContent"

    def target(self, base_path: bytes, model: str) -> bytes:
        """See Counter. Beside the `/openai` of Google's base URL for OpenAI's wire format."""
        path = base_path.removesuffix(_OPENAI_FORMAT)
        return b"%b/models/%b:countTokens" % (path, quote(_bare(model), safe="").encode())

    def headers(self, secret: str) -> list[tuple[bytes, bytes]]:
        """See Counter."""
        return [(b"x-goog-api-key", secret.encode())] if secret else []

    def of_request(self, model: str, fields: Mapping[str, msgspec.Raw]) -> bytes:
        """See Counter."""
        request = {"model": f"models/{_bare(model)}", **kept(fields, _FIELDS)}
        return msgspec.json.encode({"generateContentRequest": request})

    def of_texts(self, model: str, texts: Sequence[str]) -> bytes:  # noqa: ARG002  # in the target
        """See Counter."""
        content = {"role": "user", "parts": [{"text": joined(texts)}]}
        return msgspec.json.encode({"contents": [content]})

    def tokens(self, answer: bytes) -> int:
        """See Counter."""
        try:
            return whole_count(msgspec.json.decode(answer, type=_Answer).totalTokens)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise CountUnusable("its answer is not what it should be") from None


def _bare(model: str) -> str:
    return model.removeprefix("models/")
