"""A key as another key asks for it: read from a hostile body, and narrowed to the key that asks.

Nothing is ignored, read twice or widened. What is left out is as the minter has it; what is asked
for must be shown to be no more than that.
"""

import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NoReturn

from budgets.duration import duration_ms
from budgets.keys import Key, digest
from budgets.policy import DIMENSIONS, Limit, Policy, PolicyInvalid, parse_policy, parse_scope
from gateway.errors import BodyTooLarge, DelegationRefused, InvalidRequest
from gateway.narrowing import within

BODY_BYTES_MAX = 64 * 1024
PATTERNS_MAX = 32
PATTERN_CHARS_MAX = 128
TEXT_CHARS_MAX = 256
TAGS_MAX = 32
MESSAGE_CHARS_MAX = 300
NAME_CHARS_SHOWN = 64
FIELDS = (
    *("name", "scope", "models", "endpoints", "expires_in", "budget", "allotment"),
    *("agent", "tags", "delegates"),
)
_LIMIT_FIELDS = (*DIMENSIONS, "window", "models")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """What the body says; None and empty for what it leaves out."""

    name: str
    scope: str | None = None
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    expires_in_ms: int | None = None
    budget: Policy = field(default_factory=Policy)
    agent: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    delegates: bool = False


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
    if fields.get("allotment") is not None:
        raise InvalidRequest(
            "allotments are not served yet: bound the key with a budget", param="allotment"
        )
    return KeyWanted(
        name=name,
        scope=_scope(fields.get("scope")),
        models=_patterns(fields.get("models"), "models"),
        endpoints=_patterns(fields.get("endpoints"), "endpoints"),
        expires_in_ms=_lifetime_ms(fields.get("expires_in"), "expires_in"),
        budget=_budget(fields.get("budget")),
        agent=None if fields.get("agent") is None else _text(fields["agent"], "agent"),
        tags=_tags(fields.get("tags")),
        delegates=_boolean(fields.get("delegates"), "delegates"),
    )


def narrowed(minter: Key, wanted: KeyWanted, key_id: str, secret: str, now_ms: int) -> Key:
    """The key that was asked for, below the minter and no wider in anything. Raises
    DelegationRefused, InvalidRequest."""
    return Key(
        id=key_id,
        name=wanted.name,
        scope=_scope_below(minter, wanted.scope, key_id),
        created_at_ms=now_ms,
        expires_at_ms=_expiry(minter, wanted.expires_in_ms, now_ms),
        models=_subset(wanted.models, minter.models, "models"),
        endpoints=_subset(wanted.endpoints, minter.endpoints, "endpoints"),
        agent=minter.agent if wanted.agent is None else wanted.agent,
        tags=_tags_beside(minter.tags, wanted.tags),
        secret_sha256=digest(secret),
        attempts=minter.attempts,
        delegates=wanted.delegates,
        minters=(*minter.minters, minter.id),
    )


def check_template(template: tuple[Limit, ...], budget: Policy) -> None:
    """A key with limits of its own is out of the template of the scope that it works in: what its
    minter's own scope says of children must be among them. Raises DelegationRefused."""
    own = {limit.identity: limit.amount for limit in budget.limits}
    for limit in template if own else ():
        if own.get(limit.identity, limit.amount + 1) > limit.amount:
            raise DelegationRefused(
                f"each key minted here has a limit of {limit.dimension} per {limit.window} "
                "(per_child of the scope that it works in): leave budget out, or name that limit "
                "in it, at most as high",
                param="budget",
            )


def _scope_below(minter: Key, wanted: str | None, key_id: str) -> str:
    own = minter.key_scope
    scope = own if wanted is None else wanted
    if scope != own and not scope.startswith(f"{own}/"):
        raise DelegationRefused(
            f"scope is {own} or below it: a key is minted below its minter", param="scope"
        )
    try:
        parse_scope(f"{scope}/{key_id}")
    except PolicyInvalid as error:
        message = f"with the key's own segment below: {error}"[:MESSAGE_CHARS_MAX]
        raise InvalidRequest(message, param="scope") from None
    return scope


def _expiry(minter: Key, lasts_ms: int | None, now_ms: int) -> int | None:
    if lasts_ms is None:
        return minter.expires_at_ms
    left_ms = None if minter.expires_at_ms is None else minter.expires_at_ms - now_ms
    if left_ms is not None and lasts_ms > left_ms:
        raise DelegationRefused(
            f"expires_in is at most what the minting key has left ({left_ms // 1000}s): leave it "
            "out to expire with it",
            param="expires_in",
        )
    return now_ms + lasts_ms


def _subset(wanted: tuple[str, ...], own: tuple[str, ...], param: str) -> tuple[str, ...]:
    if not wanted:
        return own
    beyond = within(wanted, own)
    if beyond is not None:
        raise DelegationRefused(
            f"{beyond!r} is not shown to be among the {param} of the minting key "
            f"({', '.join(own)[:MESSAGE_CHARS_MAX]})",
            param=param,
        )
    return wanted


def _tags_beside(own: dict[str, str], wanted: dict[str, str]) -> dict[str, str]:
    """Tags say whose money this is: those of the minter stay as they are."""
    for name, value in wanted.items():
        if own.get(name, value) != value:
            raise DelegationRefused(
                f"tag {name[:NAME_CHARS_SHOWN]!r} is the minting key's: leave it out", param="tags"
            )
    tags = {**own, **wanted}
    if len(tags) > max(TAGS_MAX, len(own)):
        raise InvalidRequest(f"a key has at most {TAGS_MAX} tags, inherited ones too", param="tags")
    return tags


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
