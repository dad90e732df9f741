"""How a call ended that gave no whole answer, as the gateway has to book it.

Nothing was sent: it costs nothing, and the caller is told why (400), or the gateway that the
provider cannot be reached. The provider's own error: its status, which costs nothing either. All
else is unknown: 502, at which the gateway books the whole reservation.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from translator.deployment import Deployment
from translator.hop import NOT_REACHED_HEADER
from translator.passage import Passage

Headers = list[tuple[bytes, bytes]]
MESSAGE_CHARS_MAX = 4_096
NO_RETRY = (b"x-should-retry", b"false")
PASSED_HEADERS = ("retry-after", "retry-after-ms")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer that is no completion. `kind` is for the log."""

    kind: str
    status: int
    headers: Headers
    body: bytes


def outcome_of(passage: Passage, deployment: Deployment, error: Exception | None) -> Outcome:
    """Of a call that failed; by what the network has seen, not by LiteLLM's exception."""
    answer = passage.answer
    if answer is not None:
        is_json = answer.headers.get("content-type", "").lower().startswith("application/json")
        if answer.status >= 400 and is_json:
            return _providers_own(passage, deployment)
        return _unknown("the provider's answer could not be read")
    if passage.sent:
        return _unknown("the provider's answer did not come")
    if passage.unreached is not None:
        return Outcome(
            "not reached",
            502,
            [(b"content-type", b"application/json"), (NOT_REACHED_HEADER, b"true")],
            error_body("the provider cannot be reached", "upstream_error", "api_error"),
        )
    if passage.refusal is not None:
        return refused(passage.refusal.message)
    said = deployment.without_secrets(str(error))[:MESSAGE_CHARS_MAX]
    return refused(f"LiteLLM cannot translate this request: {said}")


def refused(message: str, param: str | None = None) -> Outcome:
    """Nothing was sent."""
    body = error_body(message, "not_translated", "invalid_request_error", param)
    return Outcome("refused", 400, [(b"content-type", b"application/json"), NO_RETRY], body)


def _providers_own(passage: Passage, deployment: Deployment) -> Outcome:
    answer = passage.answer
    assert answer is not None
    text = answer.error_body.decode("utf-8", "replace")
    said = deployment.without_secrets(_message(answer.error_body) or text)[:MESSAGE_CHARS_MAX]
    headers: Headers = [(b"content-type", b"application/json")]
    for name in PASSED_HEADERS:
        if name in answer.headers:
            headers.append((name.encode(), answer.headers[name].encode("latin-1")))
    return Outcome(
        "provider's error", answer.status, headers, error_body(said, "provider_error", "api_error")
    )


def _message(body: bytes) -> str:
    """Of an error in any provider's shape: `{"error": {"message"}}`, `{"message"}`, in a list."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        document = document["error"]
    said = document.get("message") if isinstance(document, dict) else None
    return said if isinstance(said, str) else ""


def _unknown(message: str) -> Outcome:
    body = error_body(message, "upstream_error", "api_error")
    return Outcome("unknown", 502, [(b"content-type", b"application/json")], body)


def error_body(message: str, code: str, kind: str, param: str | None = None) -> bytes:
    """In OpenAI's shape."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})
