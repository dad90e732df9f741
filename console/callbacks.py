"""POST /v1/callbacks/...: what a server says to a step that waits for it. The address is the right
to call it, and `console.door` has looked at its signature before the body is read."""

import json
from typing import Any, NoReturn

from fastapi import FastAPI, Request

from console.door import CALLED
from console.errors import InvalidRequest
from console.parts import Parts
from console.wire import Shown
from orchestrator.plain import not_plain
from orchestrator.running.callbacks import Called
from orchestrator.running.deciding import CallBack


class CalledBack(Shown):
    """The step has what it was told; said again, the same."""

    run: str
    step: str
    attempt: int


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/callbacks/ and what a signed address says."""

    @app.post("/v1/callbacks/{run}/{step}/{entry}/{attempt}/{signature}", tags=["runs"])
    async def call_back(request: Request) -> CalledBack:
        """Ends a step that waits for a callback: the body, JSON of at most 1 MiB, is its output. No
        token: the address, as it was sent with the step's request, is the right to call it."""
        called: Called = request.scope[CALLED]
        payload = _payload(await request.body())
        act = CallBack(called.run, called.task, called.attempt, payload)
        await parts.runs.write(act)
        return CalledBack(run=called.run, step=called.task.label, attempt=called.attempt)


def _payload(body: bytes) -> Any:  # noqa: ANN401  # JSON
    """None of an empty body. Raises InvalidRequest."""
    try:
        payload = json.loads(body, parse_constant=_refused) if body.strip() else None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if problem := not_plain(payload):
        raise InvalidRequest(f"the body cannot be kept: {problem.message}")
    return payload


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
