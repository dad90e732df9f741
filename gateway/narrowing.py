"""A key that was asked for, narrowed to the key that asks.

What cannot be shown to be narrower is refused. For patterns this may say no too often and never
yes too often: a pattern is within another where each of its parts can be taken up by one of the
other's, in order. Parts are single characters, `?`, sets as in `[a-z]`, and `*`, which takes up
anything.
"""

from fnmatch import fnmatchcase

import msgspec

from budgets.keys import Key, digest
from budgets.policy import Limit, Policy, PolicyInvalid, parse_scope
from gateway.errors import DelegationRefused, InvalidRequest
from gateway.wanted import MESSAGE_CHARS_MAX, NAME_CHARS_SHOWN, TAGS_MAX, KeyWanted

_ANY_ONE, _ANY = "?", "*"


def narrowed(minter: Key, wanted: KeyWanted, key_id: str, secret: str, now_ms: int) -> Key:
    """The key that was asked for, below the minter and no wider in anything. Raises
    DelegationRefused, InvalidRequest."""
    expires_at_ms = _expiry(minter, wanted.expires_in_ms, now_ms)
    if wanted.allotment and expires_at_ms is None:
        raise InvalidRequest(
            "an allotment comes back when its key ends: say when, as in 1h",
            param="allotment.expires_in",
        )
    return Key(
        id=key_id,
        name=wanted.name,
        scope=_scope_below(minter, wanted.scope, key_id),
        created_at_ms=now_ms,
        expires_at_ms=expires_at_ms,
        models=_subset(wanted.models, minter.models, "models"),
        endpoints=_subset(wanted.endpoints, minter.endpoints, "endpoints"),
        agent=minter.agent if wanted.agent is None else wanted.agent,
        tags=_tags_beside(minter.tags, wanted.tags),
        secret_sha256=digest(secret),
        attempts=minter.attempts,
        delegates=wanted.delegates,
        minters=(*minter.minters, minter.id),
        subscopes=_subscopes(minter, wanted),
        work=minter.work,
    )


def _subscopes(minter: Key, wanted: KeyWanted) -> tuple[str, ...]:
    if wanted.subscopes and not minter.subscopes:
        raise DelegationRefused("this key may not name scopes", param="subscopes")
    return wanted.subscopes


def bounded_by_allotment(wanted: KeyWanted) -> Policy:
    """The key's own budget. What is allotted to it is a limit of it, too: a worker whose clock is
    behind lets the key live for a moment longer than the ledger does the allotment."""
    limits = list(wanted.budget.limits)
    for dimension, amount in wanted.allotment.items():
        limit = Limit("@.0", dimension, "total", str(amount))
        own = next((each for each in limits if each.identity == limit.identity), limit)
        limits = [each for each in limits if each != own]
        limits.append(min(own, limit, key=lambda each: each.amount))
    return msgspec.structs.replace(wanted.budget, limits=tuple(limits))


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


def within(narrower: tuple[str, ...], wider: tuple[str, ...]) -> str | None:
    """The first pattern that is not shown to be within one of the others, None where all are. An
    empty list of `wider` ones allows everything."""
    if not wider:
        return None
    parts = [_parts(each) for each in wider]
    for pattern in narrower:
        own = _parts(pattern)
        if pattern not in wider and not any(_takes_up(each, own) for each in parts):
            return pattern
    return None


def _parts(pattern: str) -> list[str]:
    """As fnmatch reads it: a `[` without its end is a character, and so is anything in a set."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "[":
            close = end + 1 if pattern[end : end + 1] == "!" else end
            close = pattern.find("]", close + 1)
            if close >= 0:
                end = close + 1
        part = pattern[at:end] if end > at + 1 or pattern[at] != "[" else "[[]"
        if part != _ANY or parts[-1:] != [_ANY]:
            parts.append(part)
        at = end
    return parts


def _takes_up(wider: list[str], narrower: list[str]) -> bool:
    """The usual matching of wildcards, with parts in place of characters. Giving each run between
    two `*` its first place is enough: the `*` behind it takes up whatever is left."""
    at = star = -1
    w = n = 0
    while n < len(narrower):
        if w < len(wider) and wider[w] == _ANY:
            star, at = w, n
            w += 1
        elif w < len(wider) and _takes_up_one(wider[w], narrower[n]):
            w, n = w + 1, n + 1
        elif star >= 0:
            at += 1
            w, n = star + 1, at
        else:
            return False
    return all(each == _ANY for each in wider[w:])


def _takes_up_one(wider: str, narrower: str) -> bool:
    """Whether all that the one part stands for is among what the other does, a character each."""
    if narrower == _ANY:
        return False
    if wider in (_ANY_ONE, narrower):
        return True
    is_character = len(narrower) == 1 and narrower != _ANY_ONE
    return is_character and len(wider) > 1 and fnmatchcase(narrower, wider)
