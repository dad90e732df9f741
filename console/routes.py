"""What was learned of routes: shown, and forgotten on request, so that one begins anew."""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import Field

from budgets.calibration import NOT_CALIBRATED
from budgets.learned import Learned, route_of, route_scope
from budgets.overview import SCOPES_AT_ONCE_MAX, LearnedRoute
from budgets.policy import Policy
from console.auth import Operator, Viewer, chosen_organisation
from console.errors import NotFound
from console.pages import Place, over_organisations
from console.parts import Parts
from console.wire import CURSOR_CHARS_MAX, SCOPE_CHARS_MAX, Asked, Shown, Wanted
from gateway.route_events import RouteEvents

ROUTE_CHARS_MAX = 64


class RoutesAsked(Asked):
    """A page of routes."""

    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=SCOPES_AT_ONCE_MAX)] = SCOPES_AT_ONCE_MAX


class RouteNamed(Wanted):
    """A route that is to begin anew: in one organisation, or in all that the caller sees."""

    route: Annotated[str, Field(min_length=1, max_length=ROUTE_CHARS_MAX)]
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""


class RouteShown(Shown):
    """What an organisation knows of a route. Factors are in thousandths of the bound;
    `bound_thousandths` is a learned bound, in thousandths of the bytes, 0 where they are the bound;
    `concurrency` is how many of its requests run at a time, null for any number, 0 for none: it is
    stopped."""

    organisation: str
    route: str
    input_thousandths: int
    output_thousandths: int
    bound_thousandths: int
    concurrency: int | None


class RoutesPage(Shown):
    """By organisation and name; `next` is null on the last page."""

    routes: list[RouteShown]
    next: str | None


class RoutesReset(Shown):
    """What was known of the route until now, in each organisation."""

    reset: list[RouteShown]


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/routes, and its reset."""

    @app.get("/v1/routes", tags=["routes"])
    async def get_routes(asked: Annotated[RoutesAsked, Query()], caller: Viewer) -> RoutesPage:
        """A page of what was learned of routes."""
        organisation = chosen_organisation(caller, asked.organisation)
        begun_in = asked.after.split("/", 1)[0]

        async def routes(place: Place, limit: int) -> list[LearnedRoute]:
            after = asked.after if place.resumes else ""
            return await parts.overview.routes(place.organisation, after=after, limit=limit)

        found = await over_organisations(parts, organisation, begun_in, asked.limit + 1, routes)
        page = [each for _, each in found[: asked.limit]]
        more = page[-1].scope if len(found) > asked.limit else None
        return RoutesPage(routes=[_shown(each) for each in page], next=more)

    @app.post("/v1/routes/reset", tags=["routes"])
    async def reset_route(wanted: RouteNamed, caller: Operator) -> RoutesReset:
        """Forgets what was learned of a route: it begins anew, on probation, without factors."""
        chosen = chosen_organisation(caller, wanted.organisation)
        names = [chosen] if chosen else await parts.overview.organisations()
        found = [
            before
            for name in names
            for before in [await _reset(parts, route_scope(name, wanted.route), caller.name)]
            if before is not None
        ]
        if not found:
            raise NotFound(f"nothing was learned of a route {wanted.route!r}", param="route")
        return RoutesReset(reset=[_shown(each) for each in found])


async def _reset(parts: Parts, scope: str, by: str) -> LearnedRoute | None:
    """What was known; None where nothing was."""
    before: list[Policy] = []

    def forgotten(policy: Policy) -> tuple[Policy, bytes]:
        before[:] = [policy]
        learned = policy.learned
        return Policy(), b"" if learned is None else RouteEvents(by).reset(scope, learned)

    (standing,) = await parts.overview.standings(scope.split("/", 1)[0], [scope])
    if standing.policy.learned is None:
        return None
    await parts.administration.change_policy(scope, forgotten)
    return LearnedRoute(scope, before[-1]) if before[-1].learned is not None else None


def _shown(found: LearnedRoute) -> RouteShown:
    learned = found.policy.learned or Learned()
    limits = [each.amount for each in found.policy.limits]
    return RouteShown(
        organisation=found.scope.split("/", 1)[0],
        route=route_of(found.scope),
        input_thousandths=learned.input_thousandths,
        output_thousandths=learned.output_thousandths,
        bound_thousandths=(found.policy.calibration or NOT_CALIBRATED).bound_thousandths,
        concurrency=min(limits, default=None),
    )
