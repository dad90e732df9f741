"""What the console's tests hold in their hands: an application, its ledger, tokens of each role."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from budgets.session import Session, SessionOptions
from clickhouse.accounts import READER, RecordsSecret
from console.app import build_console
from console.charges import Tariff
from console.options import ConsoleOptions
from console.parts import Parts, parts_of
from console.records import RecordsAddress, Where
from console.server import ConsoleServer
from console.token_store import Role, Token, digest, ensure_first_token, new_secret
from console.workflows import Workflows
from tests.budgets.harness import Desk, SystemClock, desk_for, scripts
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import Caller, Stage, until

TRUSTS = SessionOptions(trusts=True)

ADMIN_SECRET = "the-first-admin-token"


@dataclass(frozen=True, slots=True)
class Console:
    """One console, asked without a network between."""

    stage: Stage
    parts: Parts
    app: FastAPI
    client: httpx.AsyncClient
    desk: Desk

    @staticmethod
    def found(records: RecordsServer) -> Where:
        """Where the test's records are, for each user."""

        def where(organisation: str) -> RecordsAddress:
            secret = RecordsSecret.load_or_create(records.folder / "records.secret")
            user = organisation or READER
            return RecordsAddress(records.url, user, secret.password_of(user))

        return where

    async def token(self, role: Role, organisation: str = "", **fields: Any) -> str:
        """The secret of a new token."""
        secret = new_secret()
        name = f"{role}-{secrets.token_hex(4)}"
        token = Token(name, role, digest(secret.encode()), 1, organisation, **fields)
        await self.parts.tokens.add(token)
        return secret

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = ADMIN_SECRET, **more: Any
    ) -> httpx.Response:
        """One call, as the first admin unless said."""
        headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return await self.client.request(method, path, headers=headers, **more)

    async def done(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The same, which must succeed; the answer's document."""
        answer = await self.call(method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    async def refused(
        self, status: int, code: str, method: str, path: str, body: Any = None, **more: Any
    ) -> dict[str, Any]:
        """The same, which must be refused so; the error."""
        answer = await self.call(method, path, body, **more)
        assert answer.status_code == status, answer.text
        document = answer.json()
        assert set(document) == {"error"}
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "code", "param"}
        assert error["code"] == code, error
        assert error["message"]
        return error

    async def events(self, organisation: str) -> list[tuple[str, Any]]:
        """(type, written part) of an organisation's events in the ledger."""
        desk = desk_for(organisation, self.desk.transport)
        return [(each.kind, each.event) for each in await desk.outbox()]

    async def caller(self, organisation: str = "") -> Caller:
        """Somebody who makes calls, of an organisation of a name that no other test has."""
        return await self.stage.caller(organisation)

    async def all_recorded(self, caller: Caller) -> None:
        """Waits until the records have what this caller did."""
        await caller.recorded()


@contextlib.asynccontextmanager
async def opened(
    stage: Stage,
    where: Where,
    options: ConsoleOptions,
    tariff: Tariff | None = None,
    workflows: Workflows | None = None,
) -> AsyncIterator[Console]:
    """A console on this ledger, with its first token."""
    transport = await stage.transport()
    session = Session(transport, scripts(), SystemClock(), TRUSTS)
    await ensure_first_token(session, ADMIN_SECRET)
    parts = parts_of(session, where, options, tariff, workflows=workflows)
    app = build_console(parts)
    desk = desk_for("", await stage.transport())
    asgi = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=asgi, base_url="http://console") as client:
        yield Console(stage, parts, app, client, desk)
    await parts.runs.close()
    await parts.records.close()


@contextlib.asynccontextmanager
async def listening(console: Console) -> AsyncIterator[tuple[httpx.AsyncClient, ConsoleServer]]:
    """The same console behind a real server; it must have ended when the context does."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = ConsoleServer(console.app, signals=False)
    serving = asyncio.create_task(server.serve([sock]))

    async def started() -> bool:
        return server.started

    await until(started)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    headers = {"authorization": f"Bearer {ADMIN_SECRET}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client, server
    server.should_exit = True
    async with asyncio.timeout(10):
        await serving
    sock.close()
