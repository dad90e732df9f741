"""uvicorn as a console needs it: streams end when the server is told to stop, because it waits for
every answer before it tells the application."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from gateway.bounded import BoundedHttpProtocol

GRACE_S_MAX = 5
KEEP_ALIVE_S = 75


class ConsoleServer(uvicorn.Server):
    """Serves a console. With `signals` it stops at SIGTERM and SIGINT, as uvicorn does."""

    def __init__(self, console: FastAPI, *, signals: bool = True) -> None:
        super().__init__(
            uvicorn.Config(
                console,
                http=BoundedHttpProtocol,
                ws="none",
                lifespan="on",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                log_config=None,
                log_level="warning",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S_MAX,
            )
        )
        self._console = console
        self._signals = signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn.Server."""
        if not self._signals:
            yield
            return
        with super().capture_signals():
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        self._console.state.parts.stopping.set()
        await super().shutdown(sockets)
