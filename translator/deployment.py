"""One entry of model_list that LiteLLM speaks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

REDACTED = "[redacted]"
SECRET_CHARS_MIN = 6


@dataclass(frozen=True, slots=True)
class Deployment:
    """`provider` and `model`: LiteLLM's prefix, and what follows it. `params`: what it is called
    with beside a request, keys among them: never logged, and taken out of what is told."""

    id: str
    provider: str
    model: str
    params: Mapping[str, str] = field(repr=False)

    @property
    def label(self) -> str:
        """What it is called in the log."""
        return f"{self.provider}/{self.model}"

    def without_secrets(self, text: str) -> str:
        """A text of the provider's or LiteLLM's, which may repeat what it was called with."""
        for value in sorted(self.params.values(), key=len, reverse=True):
            if len(value) >= SECRET_CHARS_MIN:
                text = text.replace(value, REDACTED)
        return text
