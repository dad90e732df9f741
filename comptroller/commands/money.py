"""Amounts as the command line reads and writes them: `5.00/day`, `tokens=100000/hour`, `$0.12`."""

import re
from collections.abc import Mapping
from typing import Any

from comptroller.commands.outcome import CommandFailed
from comptroller.exits import USAGE_ERROR

_LIMIT = re.compile(r"(?:(?P<dimension>[a-z]+)=)?(?P<amount>[^/=]+)(?:/(?P<window>[a-z]+))?")
_UNITS = {"concurrency": "in flight"}
_WHOLE = re.compile(r"[0-9]{1,16}")


def parse_limit(text: str, again: str) -> dict[str, Any]:
    """A limit as the API takes it: `5.00`, `usd=5.00/day`, `tokens=100000/hour`,
    `concurrency=20`. Raises CommandFailed (2) that says to try `again`."""
    from budgets.policy import PolicyInvalid, parse_policy

    found = _LIMIT.fullmatch(text)
    if found is None:
        raise CommandFailed(
            f"a limit is an amount as in 5.00, usd=5.00/day, tokens=100000/hour, "
            f"requests=600/minute or concurrency=20, not {text[:60]!r}",
            again,
            USAGE_ERROR,
        )
    dimension = found["dimension"] or "usd"
    amount: str | int = found["amount"]
    if dimension != "usd" and _WHOLE.fullmatch(found["amount"]):
        amount = int(amount)
    limit: dict[str, Any] = {dimension: amount}
    if found["window"]:
        limit["window"] = found["window"]
    try:
        parse_policy([limit])
    except PolicyInvalid as error:
        raise CommandFailed(f"{text[:60]}: {error}", again, USAGE_ERROR) from None
    return limit


def limit_words(limit: Mapping[str, Any]) -> str:
    """A limit as the API says it: `$5.00 per day`, `600 requests per minute`, `20 in flight`."""
    window = limit.get("window") or "total"
    per = "" if window == "total" else f" per {window}"
    models = limit.get("models") or ()
    only = f" for {', '.join(map(str, models))}" if models else ""
    return amount_words(str(limit["dimension"]), limit["limit"]) + per + only


def written_words(limit: Mapping[str, Any]) -> str:
    """The same of a limit as a budget writes it: `{usd: "5.00", window: day}`."""
    dimension = next(name for name in limit if name not in ("window", "models"))
    return limit_words({**limit, "dimension": dimension, "limit": limit[dimension]})


def amount_words(dimension: str, amount: object) -> str:
    """`$5.00`, or `600 requests`."""
    if dimension == "usd":
        text = str(amount)
        return f"-${text[1:]}" if text.startswith("-") else f"${text}"
    return f"{amount} {_UNITS.get(dimension, dimension)}"
