"""Values of `model_info` as decimal text, and which of its keys speak of money."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext

Info = Mapping[str, object]
"""LiteLLM's `model_info`: dollars per token (per second, per page ...) as decimal text."""

LIMITS = ("max_input_tokens", "max_output_tokens", "max_tokens")
FRAMING = (
    *("token_count_framing", "token_count_tool_framing"),
    *("token_count_responses_framing", "token_count_responses_tool_framing"),
)
_MONEY_WORDS = ("cost", "pric", "multiplier", "surcharge", "per_token", "provider_specific_entry")
_DIGITS = 28  # dollars per token with a third of a cent in them end somewhere, upwards


def is_money(key: str) -> bool:
    """Whether a key speaks of money (or may: it is `pricing.model_info` that knows each one)."""
    return any(word in key for word in _MONEY_WORDS)


def quoted(key: str, value: object) -> Iterator[tuple[str, str, str]]:
    """(name, dollars, unit) of a key of `model_info`, as people quote prices: per million tokens,
    else per one. Nothing for what is no price."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from quoted(f"{key}.{name}", each)
        return
    found = number(value) if is_money(key) else None
    if found is None:
        return
    if "multiplier" in key or key.startswith("provider_specific_entry"):
        yield key, decimal_text(found), "factor"
    elif "token" in key and "1k" not in key:
        yield key, decimal_text(found * 10**6), "1M tokens"
    else:
        yield key, decimal_text(found), "1k" if "1k" in key else "1"


def decimal_text(value: Decimal) -> str:
    """A plain decimal: `0.00000025`, never `2.5E-7`."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def divided(value: Decimal, by: int) -> str:
    """A price for `by` units as the price of one, rounded up where it does not end."""
    with localcontext() as context:
        context.prec, context.rounding = _DIGITS, "ROUND_CEILING"
        return decimal_text(value / by)


def number(value: object) -> Decimal | None:
    """A price as the decimal that was written; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        found = Decimal(value)
    except ArithmeticError:
        return None
    return found if found.is_finite() else None
