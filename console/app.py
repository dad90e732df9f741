"""The console as one application: the door, then a short list of resources.

To add a resource: a file with `add_routes`, and its line in RESOURCES.
"""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from console import (
    budgets,
    callbacks,
    documentation,
    events,
    health,
    keys,
    metrics,
    recost,
    reload,
    routes,
    run_decisions,
    run_history,
    run_outputs,
    runs,
    schedules,
    sql,
    tokens,
    workflow_costs,
)
from console.auth import ROLE_OF
from console.door import Door, is_open
from console.errors import error_of
from console.parts import Parts
from console.wire import ExactRoute

RESOURCES = (
    health,
    tokens,
    keys,
    budgets,
    events,
    sql,
    recost,
    routes,
    runs,
    run_outputs,
    run_decisions,
    run_history,
    schedules,
    workflow_costs,
    callbacks,
    reload,
    metrics,
)
TITLE = "Comptroller admin API"
DESCRIPTION = "Send an admin token as `Authorization: Bearer <token>`. docs/admin-api.md has more."


class RoleMissing(RuntimeError):
    """A call does not say who may make it: a fault of its author."""


def build_console(parts: Parts) -> FastAPI:
    """The application. Its `state.parts.stopping`, set, ends streams (`console.server`)."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        parts.stopping.set()
        await parts.runs.close()
        await parts.records.close()
        await parts.session.transport.close()

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.router.route_class = ExactRoute
    app.add_middleware(Door, parts=parts)
    app.add_exception_handler(RequestValidationError, _told)
    app.add_exception_handler(HTTPException, _told)
    for resource in RESOURCES:
        resource.add_routes(app, parts)
    documentation.add_routes(app)
    for path, _, role in calls_of(app):
        if not role and not is_open(path):
            raise RoleMissing(f"{path} names no role: give it a parameter of `console.auth`")
    return app


def calls_of(app: FastAPI) -> list[tuple[str, str, str]]:
    """(path, method, least role) of every call; no role where none is needed."""
    return [
        (route.path, method, _role(route))
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def _role(route: APIRoute) -> str:
    for each in route.dependant.dependencies:
        for function, role in ROLE_OF.items():
            if each.call is function:
                return role
    return ""


async def _told(_: Request, error: Exception) -> Response:
    return error_of(error).response()
