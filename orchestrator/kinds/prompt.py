"""One call of a model."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Attempt, Call, Kind, StepFailed

OUTPUT_TOKENS_MAX = 10**7
SHOWN_CHARS_MAX = 300
# In words and not as `response_format`, which some models do not know and refuse.
ASKED_FOR_JSON = "Answer with one JSON value and nothing else: no explanation, no Markdown."
_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?```", re.DOTALL)


class Prompt(Kind):
    """`text` goes to the model as a user's message, after `system`; its answer is the output."""

    short: ClassVar[str] = "text"
    written_out: ClassVar[frozenset[str]] = frozenset(("model", "output"))
    kind: Literal["prompt"]
    text: Annotated[str, Field(min_length=1)]
    system: str = ""
    model: str | None = None
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=OUTPUT_TOKENS_MAX)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    output: Literal["text", "json"] = "text"

    def call(self, default_model: str | None) -> Call:
        """See Kind."""
        return Call(self.model or default_model, self.max_tokens)

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: the model's text, or the JSON value in it."""
        body = self._body(attempt.model)
        answer = await attempt.ask("/chat/completions", body, call="prompt")
        text, was_cut = _said(answer.body)
        if self.output == "text":
            return text
        if was_cut:
            cap = f"{self.max_tokens} " if self.max_tokens else ""
            raise StepFailed(
                f"the answer was cut after its {cap}tokens, so it is no whole JSON: "
                "raise max_tokens, or ask for less"
            )
        return _value_in(text)

    def _body(self, default_model: str | None) -> Mapping[str, Any]:
        system = self.system
        if self.output == "json":
            system = f"{system}\n\n{ASKED_FOR_JSON}" if system else ASKED_FOR_JSON
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": self.text})
        body: dict[str, Any] = {"model": self.model or default_model, "messages": messages}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            body["temperature"] = self.temperature
        return body


def _said(body: Any) -> tuple[str, bool]:
    """The model's text, and whether it was cut at its cap. Raises StepFailed."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (TypeError, LookupError, AttributeError):
        raise StepFailed(f"the answer is no chat completion: {_shown(body)}") from None
    ended = choice.get("finish_reason")
    if refusal:
        raise StepFailed(f"the model refuses: {_shown(refusal)}")
    if ended == "content_filter":
        raise StepFailed("the provider's filter withheld the answer: change the prompt")
    if isinstance(content, list):  # in parts, as some providers answer
        content = "".join(str(each.get("text", "")) for each in content if isinstance(each, dict))
    if not isinstance(content, str) or not content:
        why = "all its tokens went into thinking: raise max_tokens" if ended == "length" else ended
        raise StepFailed(f"the model answered with no text ({why})")
    return content, ended == "length"


def _value_in(text: str) -> Any:
    """The JSON value that a text is, or has in a Markdown fence. Raises StepFailed."""
    fences = _FENCED.findall(text)
    for each in (text, *fences[:1]):
        try:
            return json.loads(each, parse_constant=_no_number)
        except (ValueError, RecursionError):
            continue
    raise StepFailed(f"the answer is no JSON: {_shown(text)}")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not in JSON")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."
