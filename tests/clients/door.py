"""The gateway's door: whoever comes in is counted here, where a client cannot forget to count. And
the way out, which leads nowhere.
"""

import asyncio
from typing import NamedTuple, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Call(NamedTuple):
    """One HTTP request as it was answered; `path` without the query."""

    method: str
    path: str
    status: int
    streamed: bool


class Door:
    """An ASGI application in front of another; `calls` in the order of their answers' heads."""

    def __init__(self, behind: ASGIApp) -> None:
        self._behind = behind
        self.calls: list[Call] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it; nothing is changed."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {name.lower(): value for name, value in message["headers"]}
                streamed = headers.get(b"content-type", b"").startswith(b"text/event-stream")
                path, status = scope["path"], message["status"]
                self.calls.append(Call(scope["method"], path, status, streamed))
            await send(message)

        await self._behind(scope, receive, seen)


class Outside:
    """A proxy that lets nobody through, and remembers who wanted to go where."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._refuse, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the port."""
        self._server.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:
            self.asked.append(line.decode(errors="replace").strip())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
