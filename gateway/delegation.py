"""Keys that mint keys, on the data port: an agent hands a part of what it may to another.

The permission is asked of the ledger at every call, not of a worker's cache. A minted key counts
below its minter's own scope, so nothing here has to enforce its minter's budgets, state or
revocation: the ledger does, for each of its requests.
"""

from typing import Any
from urllib.parse import parse_qs

import msgspec

from budgets.allotments import AllotmentInvalid
from budgets.answers import Checked, Refusal
from budgets.keys import Key, new_key_id, new_secret
from budgets.minting import (
    AllotmentRefused,
    MayNotMint,
    ScopeUnusable,
    TooManyKeys,
    not_movable,
)
from budgets.plan import KIND_OF_KEYS, ScopePath
from budgets.policy import Dimension, Limit, Policy
from budgets.subscopes import shown_sources
from gateway.endpoints import checked_path
from gateway.errors import DelegationRefused, InvalidRequest, KeyNotFound
from gateway.narrowing import bounded_by_allotment, check_template, narrowed
from gateway.parts import Parts
from gateway.refusals import refusal_error
from gateway.request import Headers, Request, respond
from gateway.wanted import parse_wanted
from pricing import dollars

PAGE_MAX = 1_000
PAGE_DEFAULT = 100
KEY_ID_CHARS_MAX = 64
_NOT_REPEATABLE = (
    "POST /v1/keys takes no Idempotency-Key, because the secret of an earlier answer is not kept: "
    "leave it out; a repeated call mints a second key, which DELETE /v1/keys/{id} revokes"
)
# A secret is nobody's to cache.
_HEADERS: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class MintKey:
    """POST /v1/keys: `{name, scope?, models?, endpoints?, expires_in?, budget?, allotment?, agent?,
    tags?, delegates?, subscopes?}`. The secret is `key` in this answer only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """201 and the key as `GET /v1/keys` shows it, with its secret and its own budget."""
        parts = self._parts
        minter, checked = await _minter(parts, key, path)
        if b"idempotency-key" in request.headers:
            raise InvalidRequest(_NOT_REPEATABLE)
        wanted = parse_wanted(await request.body(parts.options.body_bytes_max))
        if wanted.delegates and not minter.delegates:
            raise DelegationRefused("this key may not mint keys", param="delegates")
        secret = new_secret()
        minted = narrowed(minter, wanted, new_key_id(), secret, parts.clock.now_ms())
        budget = bounded_by_allotment(wanted)
        above = await parts.minting.policy(minted.scope)
        if above.kind == KIND_OF_KEYS:
            check_template(above.per_child, budget)
        # Most of what a budget does not have is known before anything is written.
        refusal = not_movable(wanted.allotment, checked.standings)
        if refusal is None:
            refusal = await self._mint(minter, minted, secret, budget, wanted.allotment)
        if refusal is not None:
            raise refusal_error(
                refusal,
                path=path,
                refusal_status=parts.options.refusal_status,
                now_ms=checked.time_ms,
                of_request=False,
            )
        document = {"key": secret, **_shown(minted, "open", parts.clock.now_ms())}
        document["budget"] = [_limit(each) for each in budget.limits]
        document["allotment"] = _amounts(wanted.allotment) if wanted.allotment else None
        await respond(request.send, 201, _HEADERS, msgspec.json.encode(document))

    async def _mint(
        self,
        minter: Key,
        minted: Key,
        secret: str,
        budget: Policy,
        allotment: dict[Dimension, int],
    ) -> Refusal | None:
        """What refuses the allotment. Raises DelegationRefused, InvalidRequest."""
        keys_max = self._parts.options.minted_keys_max
        try:
            await self._parts.minting.mint(minter, minted, secret, budget, keys_max, allotment)
        except AllotmentRefused as refused:
            return refused.refusal
        except AllotmentInvalid as error:
            raise InvalidRequest(str(error), param="allotment") from None
        except TooManyKeys:
            raise DelegationRefused(
                f"there are {keys_max} keys below key {minted.root}, which is the most (setting "
                "minted_keys_max): one that was revoked or has expired counts for an hour more",
                reason="too_many_keys",
            ) from None
        except ScopeUnusable as error:
            raise InvalidRequest(
                f"scope {error} is closed: a key below it could never be used", param="scope"
            ) from None
        return None


class MintedKeys:
    """GET /v1/keys: the keys below the one that asks, without secrets."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """`{keys: [...], next}`, by id; `next` is `after` of the next page, null on the last."""
        parts = self._parts
        minter, _ = await _minter(parts, key, path)
        after, limit = _page(request.query)
        found = await parts.minting.keys(minter, after, limit + 1)
        now_ms = parts.clock.now_ms()
        document = {
            "keys": [_shown(each, state, now_ms) for each, state in found[:limit]],
            "next": found[limit - 1][0].id if len(found) > limit else None,
        }
        await respond(request.send, 200, _HEADERS, msgspec.json.encode(document))


class RevokeKey:
    """DELETE /v1/keys/{id}: ends a key below the one that asks, and all that come from it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """The key, revoked; also where it was before."""
        parts = self._parts
        minter, _ = await _minter(parts, key, path)
        key_id = request.path.rpartition("/")[2]
        found = await parts.minting.find(minter, key_id) if _is_id(key_id) else None
        if found is None:
            raise KeyNotFound("there is no key of this id below yours: GET /v1/keys lists them")
        await parts.minting.revoke(minter, found[0])
        document = _shown(found[0], "closed", parts.clock.now_ms())
        await respond(request.send, 200, _HEADERS, msgspec.json.encode(document))


async def _minter(parts: Parts, key: Key, path: ScopePath) -> tuple[Key, Checked]:
    """The key that asks, as it is now, and what binds it. Raises DelegationRefused, and what
    refuses its path."""
    checked = await checked_path(parts, path)
    try:
        return await parts.minting.minter(key), checked
    except MayNotMint:
        raise DelegationRefused(
            f"key {key.name} may not mint keys: `comptroller key create --delegates` makes one "
            "that may"
        ) from None


def _page(query: bytes) -> tuple[str, int]:
    """(after, limit) of a query string."""
    try:
        fields = parse_qs(query.decode("ascii"), max_num_fields=16)
    except ValueError:
        raise InvalidRequest("the query string cannot be read") from None
    after, limit = fields.get("after", [""])[0], fields.get("limit", [str(PAGE_DEFAULT)])[0]
    if after and not _is_id(after):
        raise InvalidRequest("after is the id of a key", param="after")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 1 <= int(limit) <= PAGE_MAX):
        raise InvalidRequest(f"limit is a whole number from 1 to {PAGE_MAX}", param="limit")
    return after, int(limit)


def _is_id(text: str) -> bool:
    return 1 <= len(text) <= KEY_ID_CHARS_MAX and text.isascii() and text.isprintable()


def _shown(key: Key, state: str, now_ms: int) -> dict[str, Any]:
    """A key, without its secret. No `models` or `endpoints` means all."""
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "budget_scope": key.key_scope,
        "status": _status(key, state, now_ms),
        "minted_by": key.minters[-1],
        "models": key.models,
        "endpoints": key.endpoints,
        "agent": key.agent,
        "tags": key.tags,
        "delegates": key.delegates,
        "subscopes": shown_sources(key.subscopes),
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
    }


def _status(key: Key, state: str, now_ms: int) -> str:
    """As the admin API says it."""
    if state == "closed":
        return "revoked"
    if key.expires_at_ms is not None and key.expires_at_ms <= now_ms:
        return "expired"
    return "frozen" if state == "frozen" else "active"


def _amounts(amounts: dict[Dimension, int]) -> dict[str, Any]:
    """As they would be written."""
    return {name: dollars(each) if name == "usd" else each for name, each in amounts.items()}


def _limit(limit: Limit) -> dict[str, Any]:
    """As it would be written."""
    amount = dollars(limit.amount) if limit.dimension == "usd" else limit.amount
    written: dict[str, Any] = {limit.dimension: amount}
    if limit.dimension != "concurrency":
        written["window"] = limit.window
    if limit.models:
        written["models"] = limit.models
    return written
