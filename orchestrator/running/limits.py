"""A run's budget, as its row has it."""

import msgspec

from budgets.policy import Limit

_decode = msgspec.json.Decoder(tuple[Limit, ...]).decode
_encode = msgspec.json.Encoder().encode


def limits_text(limits: tuple[Limit, ...]) -> str:
    """As JSON."""
    return _encode(limits).decode()


def limits_from(text: str) -> tuple[Limit, ...]:
    """The other way round."""
    return _decode(text)
