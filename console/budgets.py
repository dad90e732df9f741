"""Budgets: set, shown as `GET /v1/budget` shows them on the data port, removed, frozen, thawed."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Query
from pydantic import ConfigDict, Field

from budgets.overview import SCOPES_AT_ONCE_MAX, ScopeStanding
from budgets.policy import POLICY_FIELDS, Policy
from console.auth import Operator, Viewer, checked_scope, chosen_organisation
from console.errors import Conflict, InvalidRequest, NotFound
from console.pages import Place, over_organisations
from console.parts import Parts
from console.policies import policy_from, said_beside_limits
from console.token_store import Token
from console.wire import CURSOR_CHARS_MAX, SCOPE_CHARS_MAX, Asked, Shown, Wanted
from gateway.events import PolicyEvent, encode
from gateway.standing import limit_shown

KIND_OF_KEYS = "key"  # templates do not bind such scopes: see budgets.plan.limits_of
ScopeText = Annotated[str, Field(min_length=1, max_length=SCOPE_CHARS_MAX)]


class BudgetWanted(Wanted):
    """The whole budget of a scope: what it does not say is the default again."""

    scope: ScopeText
    limits: list[Any]
    on_exceed: Any = None
    per_child: list[Any] | None = None
    share_of_free: Any = None
    output_tokens_default: Any = None
    payloads: Any = None
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] | None = None
    count_from: Any = None


class ScopeNamed(Wanted):
    """A scope to be frozen or thawed."""

    scope: ScopeText


class OneScope(Asked):
    """A scope whose budget is removed."""

    scope: ScopeText


class BudgetsAsked(Asked):
    """One scope, or a page of all that have a budget."""

    scope: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=SCOPES_AT_ONCE_MAX)] = SCOPES_AT_ONCE_MAX


class BudgetShown(Shown):
    """How a scope stands. Beside `limits`, what its budget says that is not the default: on_exceed,
    per_child, share_of_free, output_tokens_default, payloads, kind."""

    model_config = ConfigDict(extra="allow")

    scope: str
    state: Literal["unknown", "open", "frozen", "closing", "closed"]
    limits: list[dict[str, Any]]


class Budgets(Shown):
    """A page, by scope; `next` is null on the last one."""

    budgets: list[BudgetShown]
    next: str | None


class StateEvent(msgspec.Struct, frozen=True):
    """`budget_changed` by a freeze or thaw: `action` says which."""

    scope: str
    by: str
    action: str


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/budgets, and below it freeze and thaw."""

    @app.put("/v1/budgets", tags=["budgets"])
    async def set_budget(wanted: BudgetWanted, caller: Operator) -> BudgetShown:
        """Replaces a scope's budget. Limits that stay (same dimension, window, models) keep what
        was spent. An organisation that is new is created."""
        organisation = checked_scope(caller, wanted.scope)
        policy = _policy(wanted)
        await parts.session.begin_organisation(organisation)
        return await _set(parts, caller, wanted.scope, policy)

    @app.get("/v1/budgets", tags=["budgets"])
    async def get_budgets(
        asked: Annotated[BudgetsAsked, Query()], caller: Viewer
    ) -> BudgetShown | Budgets:
        """One scope's budget with `scope`, else a page of all."""
        organisation = chosen_organisation(caller, asked.organisation, asked.scope)
        if asked.scope:
            return await _shown(parts, asked.scope)
        return await _page(parts, organisation, asked)

    @app.delete("/v1/budgets", tags=["budgets"])
    async def delete_budget(asked: Annotated[OneScope, Query()], caller: Operator) -> BudgetShown:
        """Removes a scope's budget: the scope stays, without limits of its own."""
        checked_scope(caller, asked.scope)
        await _shown(parts, asked.scope)  # a scope that nobody has used has none
        return await _set(parts, caller, asked.scope, Policy())

    @app.post("/v1/budgets/freeze", tags=["budgets"])
    async def freeze(wanted: ScopeNamed, caller: Operator) -> BudgetShown:
        """Refuses every request below a scope, from the next one on; also one not yet used."""
        checked_scope(caller, wanted.scope)
        return await _set_state(parts, caller, wanted.scope, "freeze")

    @app.post("/v1/budgets/thaw", tags=["budgets"])
    async def thaw(wanted: ScopeNamed, caller: Operator) -> BudgetShown:
        """Lets a frozen scope go on."""
        checked_scope(caller, wanted.scope)
        await _shown(parts, wanted.scope)
        return await _set_state(parts, caller, wanted.scope, "thaw")


def _policy(wanted: BudgetWanted) -> Policy:
    if wanted.count_from is not None:
        raise InvalidRequest(
            "count_from is not supported by this version: a new limit counts from now",
            param="count_from",
        )
    said = [name for name in POLICY_FIELDS if name in wanted.model_fields_set]
    return policy_from({name: getattr(wanted, name) for name in said})


async def _set(parts: Parts, caller: Token, scope: str, policy: Policy) -> BudgetShown:
    organisation = scope.split("/", 1)[0]
    (standing,) = await parts.overview.standings(organisation, [scope])
    kind = standing.policy.kind
    if not policy.kind:  # what a scope is does not change with its budget
        policy = msgspec.structs.replace(policy, kind=kind)
    elif (kind == KIND_OF_KEYS) != (policy.kind == KIND_OF_KEYS):
        raise InvalidRequest("a scope is a key's from its minting on, or never", param="kind")
    event = encode(PolicyEvent(scope, caller.name))
    await parts.administration.set_policy(scope, policy, event)
    return await _shown(parts, scope)


async def _set_state(parts: Parts, caller: Token, scope: str, action: str) -> BudgetShown:
    event = encode(StateEvent(scope, caller.name, action))
    done = await parts.administration.set_state(scope, action, "budget_changed", event)
    if done == "CLOSED":
        raise Conflict(f"scope {scope} is closed for good", param="scope")
    return await _shown(parts, scope)


async def _shown(parts: Parts, scope: str) -> BudgetShown:
    (standing,) = await parts.overview.standings(scope.split("/", 1)[0], [scope])
    if standing.state == "unknown":
        raise NotFound(f"there is no scope {scope}", param="scope")
    return _as_shown(standing)


def _as_shown(standing: ScopeStanding) -> BudgetShown:
    return BudgetShown.model_validate(
        {
            "scope": standing.scope,
            "state": standing.state,
            "limits": [limit_shown(each) for each in standing.standings],
            **said_beside_limits(standing.policy),
        }
    )


async def _page(parts: Parts, organisation: str, asked: BudgetsAsked) -> Budgets:
    async def scopes(place: Place, limit: int) -> list[str]:
        return await parts.overview.budgets(
            place.organisation, after=asked.after if place.resumes else "", limit=limit
        )

    begun_in = asked.after.split("/", 1)[0]
    found = await over_organisations(parts, organisation, begun_in, asked.limit + 1, scopes)
    page = [scope for _, scope in found[: asked.limit]]
    shown: list[BudgetShown] = []
    for each in dict.fromkeys(scope.split("/", 1)[0] for scope in page):
        own = [scope for scope in page if scope.split("/", 1)[0] == each]
        shown += [_as_shown(one) for one in await parts.overview.standings(each, own)]
    return Budgets(budgets=shown, next=page[-1] if len(found) > asked.limit else None)
