"""What the gateway needs to know of a provider's endpoint that counts a request's input."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class CountUnusable(ValueError):  # the byte bound holds, and nobody is told but the log
    """An answer that does not say how many tokens there are."""


class Counter(Protocol):
    """One counting endpoint: pure, from bytes to bytes. To add one is to add a file and a line in
    the table of `gateway.counters`."""

    @property
    def endpoint(self) -> str:
        """The endpoint whose requests it counts as they are: one of `gateway.dialects`, where that
        has it."""
        ...

    def target(self, base_path: bytes, model: str) -> bytes:
        """Where it is, from the path of the route's `api_base`, without a slash at its end."""
        ...

    def headers(self, secret: str) -> list[tuple[bytes, bytes]]:
        """What it wants to be sent beside the content type; `secret` "" for no key."""
        ...

    def of_request(self, model: str, fields: Mapping[str, msgspec.Raw]) -> bytes:
        """The question about a request in the provider's own wire format."""
        ...

    def of_texts(self, model: str, texts: Sequence[str]) -> bytes:
        """The question about texts of a request in another wire format: one message of them all."""
        ...

    def tokens(self, answer: bytes) -> int:
        """What the answer (of status 200) says. Raises CountUnusable."""
        ...


def joined(texts: Sequence[str]) -> str:
    """Texts, each in lines of its own: no tokenizer joins what a line break parts."""
    return "\n".join(texts)


def kept(fields: Mapping[str, msgspec.Raw], names: Sequence[str]) -> dict[str, msgspec.Raw]:
    """The fields of these names that are there, as they are."""
    return {name: fields[name] for name in names if name in fields}


def whole_count(value: object) -> int:
    """A number of tokens. Raises CountUnusable."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CountUnusable("its answer has no number of tokens")
    return value
