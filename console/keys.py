"""Gateway keys: minted, listed, shown, rotated, revoked. A secret is in one answer only."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query
from pydantic import Field

from budgets.keys import CACHED_KEY_MS, OVERLAP_MS_MAX, Key, digest, new_key_id, new_secret
from budgets.policy import Payloads, Policy, PolicyInvalid, parse_scope
from budgets.subscopes import SubscopesInvalid, parse_sources, shown_sources
from console.auth import Operator, Viewer, checked_scope, chosen_organisation
from console.errors import Conflict, InvalidRequest, NotFound
from console.pages import Place, over_organisations
from console.parts import Parts
from console.policies import policy_from
from console.scopes import check_open
from console.token_store import Token
from console.wire import (
    CURSOR_CHARS_MAX,
    PAGE_DEFAULT,
    PAGE_MAX,
    SCOPE_CHARS_MAX,
    Asked,
    Shown,
    Wanted,
    lifetime_ms,
    milliseconds,
)

LISTED_MAX = 64
TAGS_MAX = 32
TEXT_CHARS_MAX = 256
ORGANISATIONS_AT_ONCE = 500
OVERLAP_DEFAULT = "1h"

Text = Annotated[
    str, Field(min_length=1, max_length=TEXT_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
]
# An empty list would read as "none" and mean "all": it is refused.
Patterns = Annotated[list[Text], Field(min_length=1, max_length=LISTED_MAX)]
ScopeText = Annotated[str, Field(min_length=1, max_length=SCOPE_CHARS_MAX)]
KeyId = Annotated[str, Path(alias="id", max_length=TEXT_CHARS_MAX)]
Status = Literal["active", "frozen", "expired", "revoked"]


class KeyWanted(Wanted):
    """A key to be minted. `budget` limits the key itself, as the scope `<scope>/<id>`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")]
    scope: ScopeText
    models: Patterns | None = None
    endpoints: Patterns | None = None
    expires_in: str | None = None
    budget: list[Any] | dict[str, Any] | None = None
    agent: Text | None = None
    tags: Annotated[dict[Text, Text], Field(max_length=TAGS_MAX)] | None = None
    subscopes: bool | list[Text] = False
    payloads: Payloads | None = None
    delegates: bool = False


class RotationWanted(Wanted):
    """How long the secret that is replaced works on."""

    overlap: str = OVERLAP_DEFAULT


class KeysAsked(Asked):
    """A page of keys: of an organisation, or of those that work in a scope or below it."""

    scope: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class KeyAsked(Asked):
    """Which organisation's key, where several have one of this id."""

    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""


class KeyShown(Shown):
    """A key, without its secret. No `models` or `endpoints` means all; `budget_scope` is where its
    own budget is; `minted_by` is the id of the key that minted it, empty for an operator's."""

    id: str
    name: str
    scope: str
    budget_scope: str
    status: Status
    models: list[str]
    endpoints: list[str]
    agent: str
    tags: dict[str, str]
    delegates: bool
    subscopes: bool | list[str]
    minted_by: str
    created_at_ms: int
    expires_at_ms: int | None


class KeyMade(KeyShown):
    """With the secret, this once."""

    key: str


class Keys(Shown):
    """A page, by organisation and id; `next` is null on the last one."""

    keys: list[KeyShown]
    next: str | None


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/keys and below."""

    @app.post("/v1/keys", tags=["keys"], status_code=201)
    async def mint_key(wanted: KeyWanted, caller: Operator) -> KeyMade:
        """Mints a key. Its secret is in this answer only. An organisation that is new is
        created."""
        organisation = checked_scope(caller, wanted.scope)
        secret = new_secret()
        key, policy = _key(parts, wanted, secret), _policy(wanted)
        await parts.session.begin_organisation(organisation)
        await check_open(parts, wanted.scope)
        await parts.keyring(caller).mint(key, secret, policy)
        return KeyMade(**(await _shown(parts, key)).model_dump(), key=secret)

    @app.get("/v1/keys", tags=["keys"])
    async def list_keys(asked: Annotated[KeysAsked, Query()], caller: Viewer) -> Keys:
        """A page of keys; revoked ones are among them."""
        organisation = chosen_organisation(caller, asked.organisation, asked.scope)
        return await _page(parts, organisation, asked)

    @app.get("/v1/keys/{id}", tags=["keys"])
    async def show_key(
        key_id: KeyId,
        asked: Annotated[KeyAsked, Query()],
        caller: Viewer,
    ) -> KeyShown:
        """One key."""
        return await _shown(parts, await _find(parts, caller, key_id, asked))

    @app.delete("/v1/keys/{id}", tags=["keys"])
    async def revoke_key(
        key_id: KeyId,
        asked: Annotated[KeyAsked, Query()],
        caller: Operator,
    ) -> KeyShown:
        """Revokes a key for good: it counts at the next call everywhere."""
        key = await _find(parts, caller, key_id, asked)
        shown = await _shown(parts, key)
        if shown.status == "revoked":
            return shown
        await parts.keyring(caller).revoke(key)
        return await _shown(parts, key)

    @app.post("/v1/keys/{id}/rotate", tags=["keys"])
    async def rotate_key(
        key_id: KeyId,
        asked: Annotated[KeyAsked, Query()],
        caller: Operator,
        wanted: RotationWanted | None = None,
    ) -> KeyMade:
        """Gives a key a new secret, which is in this answer only. Earlier ones work for `overlap`
        more; with 0s, none works from the next call on."""
        overlap_ms = _overlap_ms(wanted or RotationWanted())
        key = await _find(parts, caller, key_id, asked)
        shown = await _shown(parts, key)
        if shown.status in ("revoked", "expired"):
            raise Conflict(f"key {key.id} is {shown.status}: mint another", param="id")
        secret = new_secret()
        rotated = await parts.keyring(caller).rotate(key, secret, overlap_ms)
        return KeyMade(**(await _shown(parts, rotated)).model_dump(), key=secret)


def _key(parts: Parts, wanted: KeyWanted, secret: str) -> Key:
    try:
        subscopes = parse_sources(wanted.subscopes)
    except SubscopesInvalid as error:
        raise InvalidRequest(str(error), param="subscopes") from None
    now_ms = parts.session.clock.now_ms()
    lasts_ms = lifetime_ms(wanted.expires_in)
    key = Key(
        id=new_key_id(),
        name=wanted.name,
        scope=wanted.scope,
        created_at_ms=now_ms,
        expires_at_ms=None if lasts_ms is None else now_ms + lasts_ms,
        models=tuple(wanted.models or ()),
        endpoints=tuple(wanted.endpoints or ()),
        agent=wanted.agent or "",
        tags=wanted.tags or {},
        secret_sha256=digest(secret),
        delegates=wanted.delegates,
        subscopes=subscopes,
    )
    try:
        parse_scope(key.key_scope)
    except PolicyInvalid as error:
        raise InvalidRequest(f"with the key's own segment below: {error}", param="scope") from None
    return key


def _policy(wanted: KeyWanted) -> Policy:
    budget = wanted.budget if wanted.budget is not None else []
    document = {"limits": budget} if isinstance(budget, list) else dict(budget)
    policy = policy_from(document, "budget")
    if wanted.payloads is None:
        return policy
    if policy.payloads is not None:
        raise InvalidRequest("payloads is in the budget already", param="payloads")
    return policy_from({**document, "payloads": wanted.payloads}, "budget")


def _overlap_ms(wanted: RotationWanted) -> int:
    overlap_ms = milliseconds(wanted.overlap, "overlap")
    assert overlap_ms is not None
    if overlap_ms and not CACHED_KEY_MS <= overlap_ms <= OVERLAP_MS_MAX:
        raise InvalidRequest(
            f"overlap is 0s, or from {CACHED_KEY_MS // 1000}s to {OVERLAP_MS_MAX // 86_400_000}d",
            param="overlap",
        )
    return overlap_ms


async def _find(parts: Parts, caller: Token, key_id: str, asked: KeyAsked) -> Key:
    """The key of this id that the caller may see. Raises NotFound, Conflict."""
    organisation = chosen_organisation(caller, asked.organisation)
    names = [organisation] if organisation else await parts.overview.organisations()
    ring, found = parts.keyring(caller), list[Key]()
    for start in range(0, len(names), ORGANISATIONS_AT_ONCE):
        some = names[start : start + ORGANISATIONS_AT_ONCE]
        keys = await asyncio.gather(*(ring.named(each, key_id) for each in some))
        found += [key for key in keys if key is not None]
    if not found:
        raise NotFound("there is no key of this id", param="id")
    if len(found) > 1:
        owners = ", ".join(key.organisation for key in found[:8])
        raise Conflict(
            f"several organisations have a key of this id ({owners}): name one as `organisation`",
            param="organisation",
        )
    return found[0]


async def _page(parts: Parts, organisation: str, asked: KeysAsked) -> Keys:
    begun_in, _, begun_at = asked.after.partition("/")

    async def keys(place: Place, limit: int) -> list[Key]:
        after = begun_at if place.resumes else ""
        return await parts.overview.keys(
            place.organisation, after=after, below=asked.scope, limit=limit
        )

    found = await over_organisations(parts, organisation, begun_in, asked.limit + 1, keys)
    page = [key for _, key in found[: asked.limit]]
    shown: list[KeyShown] = []
    for each in dict.fromkeys(key.organisation for key in page):
        own = [key for key in page if key.organisation == each]
        states = await parts.overview.key_states(each, own)
        shown += [_as_shown(parts, key, states[key.id]) for key in own]
    last = f"{page[-1].organisation}/{page[-1].id}" if len(found) > asked.limit else None
    return Keys(keys=shown, next=last)


async def _shown(parts: Parts, key: Key) -> KeyShown:
    states = await parts.overview.key_states(key.organisation, [key])
    return _as_shown(parts, key, states[key.id])


def _as_shown(parts: Parts, key: Key, state: str) -> KeyShown:
    return KeyShown(
        id=key.id,
        name=key.name,
        scope=key.scope,
        budget_scope=key.key_scope,
        status=_status(key, state, parts.session.clock.now_ms()),
        models=list(key.models),
        endpoints=list(key.endpoints),
        agent=key.agent,
        tags=key.tags,
        delegates=key.delegates,
        subscopes=shown_sources(key.subscopes),
        minted_by=key.minters[-1] if key.minters else "",
        created_at_ms=key.created_at_ms,
        expires_at_ms=key.expires_at_ms,
    )


def _status(key: Key, state: str, now_ms: int) -> Status:
    if state == "closed":
        return "revoked"
    if key.expires_at_ms is not None and key.expires_at_ms <= now_ms:
        return "expired"
    return "frozen" if state == "frozen" else "active"
