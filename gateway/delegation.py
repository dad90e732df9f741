"""Keys that mint keys, on the data port: an agent hands a part of what it may to another.

The permission is asked of the ledger at every call, not of a worker's cache. A minted key counts
below its minter's own scope, so nothing here has to enforce its minter's budgets, state or
revocation: the ledger does, for each of its requests.
"""

from typing import Any
from urllib.parse import parse_qs

import msgspec

from budgets.keys import Key, new_key_id, new_secret
from budgets.minting import MayNotMint, ScopeUnusable, TooManyKeys
from budgets.plan import KIND_OF_KEYS, ScopePath
from budgets.policy import Limit, Policy
from gateway.endpoints import checked_path
from gateway.errors import DelegationRefused, InvalidRequest, KeyNotFound
from gateway.money import dollars
from gateway.parts import Parts
from gateway.request import Headers, Request, respond
from gateway.wanted import check_template, narrowed, parse_wanted

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
    """POST /v1/keys: `{name, scope?, models?, endpoints?, expires_in?, budget?, agent?, tags?,
    delegates?}`. The secret is `key` in this answer only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """201 and the key as `GET /v1/keys` shows it, with its secret and its own budget."""
        parts = self._parts
        minter = await _minter(parts, key, path)
        if b"idempotency-key" in request.headers:
            raise InvalidRequest(_NOT_REPEATABLE)
        wanted = parse_wanted(await request.body(parts.options.body_bytes_max))
        if wanted.delegates and not minter.delegates:
            raise DelegationRefused("this key may not mint keys", param="delegates")
        secret = new_secret()
        minted = narrowed(minter, wanted, new_key_id(), secret, parts.clock.now_ms())
        above = await parts.minting.policy(minted.scope)
        if above.kind == KIND_OF_KEYS:
            check_template(above.per_child, wanted.budget)
        await self._mint(minter, minted, secret, wanted.budget)
        document = {"key": secret, **_shown(minted, "open", parts.clock.now_ms())}
        document["budget"] = [_limit(each) for each in wanted.budget.limits]
        await respond(request.send, 201, _HEADERS, msgspec.json.encode(document))

    async def _mint(self, minter: Key, minted: Key, secret: str, budget: Policy) -> None:
        keys_max = self._parts.options.minted_keys_max
        try:
            await self._parts.minting.mint(minter, minted, secret, budget, keys_max)
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


class MintedKeys:
    """GET /v1/keys: the keys below the one that asks, without secrets."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """`{keys: [...], next}`, by id; `next` is `after` of the next page, null on the last."""
        parts = self._parts
        minter = await _minter(parts, key, path)
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
        minter = await _minter(parts, key, path)
        key_id = request.path.rpartition("/")[2]
        found = await parts.minting.find(minter, key_id) if _is_id(key_id) else None
        if found is None:
            raise KeyNotFound("there is no key of this id below yours: GET /v1/keys lists them")
        await parts.minting.revoke(minter, found[0])
        document = _shown(found[0], "closed", parts.clock.now_ms())
        await respond(request.send, 200, _HEADERS, msgspec.json.encode(document))


async def _minter(parts: Parts, key: Key, path: ScopePath) -> Key:
    """The key that asks, as it is now. Raises DelegationRefused, and what refuses its path."""
    await checked_path(parts, path)
    try:
        return await parts.minting.minter(key)
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


def _limit(limit: Limit) -> dict[str, Any]:
    """As it would be written."""
    amount = dollars(limit.amount) if limit.dimension == "usd" else limit.amount
    written: dict[str, Any] = {limit.dimension: amount}
    if limit.dimension != "concurrency":
        written["window"] = limit.window
    if limit.models:
        written["models"] = limit.models
    return written
