"""Whether the console runs, and whether it can work. Open to all, so it says no more than that."""

import asyncio
from typing import Literal

from fastapi import FastAPI, Response
from starlette.responses import PlainTextResponse

from budgets.transport import LedgerUnavailable
from console.parts import Parts
from console.records import RecordsAway
from console.wire import Shown

Standing = Literal["ok", "away"]


class Readiness(Shown):
    """`ledger` decides; without `records` budgets and keys still work."""

    ready: bool
    ledger: Standing
    records: Standing


def add_routes(app: FastAPI, parts: Parts) -> None:
    """GET /healthz, GET /readyz."""

    @app.get("/healthz", tags=["health"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process runs."""
        return "ok\n"

    @app.get("/readyz", tags=["health"], responses={503: {"model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """200 when the ledger answers and has what the configuration declares, else 503; the
        records are told apart."""
        ledger, records = await _ledger(parts), await _records(parts)
        ready = ledger == "ok" and parts.is_declared()
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, ledger=ledger, records=records)


async def _ledger(parts: Parts) -> Standing:
    try:
        async with asyncio.timeout(parts.options.ready_ms_max / 1000):
            await parts.session.transport.command("PING")
    except (LedgerUnavailable, TimeoutError):
        return "away"
    return "ok"


async def _records(parts: Parts) -> Standing:
    try:
        await parts.records.ping()
    except RecordsAway:
        return "away"
    return "ok"
