"""A key as another key asks for it, read from a hostile body: nothing is ignored or read twice."""

import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NoReturn

from budgets.allotments import MOVABLE
from budgets.duration import duration_ms
from budgets.policy import (
    Dimension,
    Policy,
    PolicyInvalid,
    parse_amount,
    parse_policy,
    parse_scope,
)
from budgets.subscopes import SubscopesInvalid, parse_sources
from gateway.errors import BodyTooLarge, InvalidRequest

BODY_BYTES_MAX = 16 * 1024
PATTERNS_MAX = 32
PATTERN_CHARS_MAX = 128
TEXT_CHARS_MAX = 256
TAGS_MAX = 32
MESSAGE_CHARS_MAX = 300
NAME_CHARS_SHOWN = 64
FIELDS = (
    *("name", "scope", "models", "endpoints", "expires_in", "budget", "allotment"),
    *("agent", "tags", "delegates", "subscopes"),
)
_HOW_TO_ALLOT = (
    'an allotment moves usd or tokens, more than nothing, as in {"usd": "1.00", "expires_in": "1h"}'
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """What the body says; None and empty for what it leaves out. An `allotment` is in nano-dollars
    and tokens, and ends with the key; `expires_in_ms` is the sooner of its end and the key's."""

    name: str
    scope: str | None = None
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    expires_in_ms: int | None = None
    budget: Policy = field(default_factory=Policy)
    allotment: dict[Dimension, int] = field(default_factory=dict)
    agent: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    delegates: bool = False
    subscopes: tuple[str, ...] = ()


def parse_wanted(body: bytes) -> KeyWanted:
    """Raises InvalidRequest, BodyTooLarge."""
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge(f"a key is asked for in at most {BODY_BYTES_MAX} bytes")
    fields = _object(body)
    for each in fields:
        if each not in FIELDS:
            raise InvalidRequest(_nearest(each), param=ascii(each)[1:-1][:NAME_CHARS_SHOWN])
    name = fields.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequest(
            "name is a text of letters, digits, . _ - and at most 48 of them", param="name"
        )
    allotment, allotted_ms = _allotment(fields.get("allotment"))
    ends = _lifetime_ms(fields.get("expires_in"), "expires_in"), allotted_ms
    return KeyWanted(
        name=name,
        scope=_scope(fields.get("scope")),
        models=_patterns(fields.get("models"), "models"),
        endpoints=_patterns(fields.get("endpoints"), "endpoints"),
        expires_in_ms=min((each for each in ends if each is not None), default=None),
        budget=_budget(fields.get("budget")),
        allotment=allotment,
        agent=None if fields.get("agent") is None else _text(fields["agent"], "agent"),
        tags=_tags(fields.get("tags")),
        delegates=_boolean(fields.get("delegates"), "delegates"),
        subscopes=_subscopes(fields.get("subscopes")),
    )


def _subscopes(value: object) -> tuple[str, ...]:
    try:
        return parse_sources(value)
    except SubscopesInvalid as error:
        raise InvalidRequest(str(error), param="subscopes") from None


def _object(body: bytes) -> dict[str, Any]:
    """Decimals, not floats; no field twice, at any depth."""
    try:
        document = json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except ValueError as error:
        message = f"the body is not a JSON object: {str(error)[:MESSAGE_CHARS_MAX]}"
        raise InvalidRequest(message) from None
    if not isinstance(document, dict):
        raise InvalidRequest('the body is a JSON object, as in {"name": "helper"}')
    return document


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _nearest(name: str) -> str:
    close = get_close_matches(name[:NAME_CHARS_SHOWN], FIELDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(FIELDS)}"
    return f"unknown field {name[:NAME_CHARS_SHOWN]!r}; {hint}"


def _scope(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest("scope is a text, as in acme/research/key-ci", param="scope")
    try:
        parse_scope(value)
    except PolicyInvalid as error:
        raise InvalidRequest(str(error)[:MESSAGE_CHARS_MAX], param="scope") from None
    return value


def _patterns(value: object, param: str) -> tuple[str, ...]:
    """An empty list would read as "none" and mean "all": it is refused."""
    if value is None:
        return ()
    if not isinstance(value, list) or not 1 <= len(value) <= PATTERNS_MAX:
        raise InvalidRequest(f"{param} is a list of 1 to {PATTERNS_MAX} patterns", param=param)
    for each in value:
        if not _is_text(each, PATTERN_CHARS_MAX):
            raise InvalidRequest(
                f"a pattern of {param} has 1 to {PATTERN_CHARS_MAX} printable characters",
                param=param,
            )
    return tuple(value)


def _lifetime_ms(value: object, param: str) -> int | None:
    if value is None:
        return None
    found_ms = duration_ms(value) if isinstance(value, str) else None
    if not found_ms:
        raise InvalidRequest(
            f"{param} is a duration, as in 30d, 12h, 10m or 45s, up to 36500d", param=param
        )
    return found_ms


def _budget(value: object) -> Policy:
    """Limits alone: what else a budget can say, as what is recorded of prompts, is not a key's to
    decide."""
    if value is None:
        return Policy()
    if not isinstance(value, list):
        raise InvalidRequest('budget is a list of limits, as in [{"usd": "0.50"}]', param="budget")
    try:
        policy = parse_policy(value)
    except PolicyInvalid as error:
        raise InvalidRequest(str(error)[:MESSAGE_CHARS_MAX], param="budget") from None
    for limit in policy.limits:
        if not all(_is_text(each, TEXT_CHARS_MAX) for each in limit.models):
            raise InvalidRequest(
                f"a pattern of models has 1 to {TEXT_CHARS_MAX} printable characters",
                param="budget",
            )
    return policy


def _allotment(value: object) -> tuple[dict[Dimension, int], int | None]:
    """Amounts, and how long it lasts."""
    if value is None:
        return {}, None
    if not isinstance(value, dict) or not value.keys() <= {*MOVABLE, "expires_in"}:
        raise InvalidRequest(_HOW_TO_ALLOT, param="allotment")
    amounts: dict[Dimension, int] = {}
    for name in MOVABLE:
        if value.get(name) is not None:
            try:
                amounts[name] = parse_amount(name, value[name])
            except PolicyInvalid as error:
                message = str(error)[:MESSAGE_CHARS_MAX]
                raise InvalidRequest(message, param=f"allotment.{name}") from None
    if not amounts or 0 in amounts.values():
        raise InvalidRequest(_HOW_TO_ALLOT, param="allotment")
    return amounts, _lifetime_ms(value.get("expires_in"), "allotment.expires_in")


def _tags(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > TAGS_MAX:
        raise InvalidRequest(f"tags is a mapping of at most {TAGS_MAX} names", param="tags")
    return {_text(name, "tags"): _text(each, "tags") for name, each in value.items()}


def _boolean(value: object, param: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(f"{param} is true or false", param=param)


def _text(value: object, param: str) -> str:
    if not _is_text(value, TEXT_CHARS_MAX):
        raise InvalidRequest(
            f"{param}: a text of 1 to {TEXT_CHARS_MAX} printable characters", param=param
        )
    assert isinstance(value, str)
    return value


def _is_text(value: object, chars_max: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= chars_max and value.isprintable()
