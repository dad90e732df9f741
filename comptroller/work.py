"""One gateway worker: `python -m comptroller.work <listening socket>`. All workers of a machine
share the socket, so that a call waits while one of them is started again."""

import gc
from collections.abc import Callable

import uvicorn

from comptroller.hearing import Hearing
from comptroller.parts import Worker
from comptroller.process import SaysReady, begin, inherited_socket, is_declared
from comptroller.settings import Settings
from gateway.app import Gateway
from gateway.corked import CorkedHttpProtocol

KEEP_ALIVE_S = 75  # longer than clients' pools keep a connection, so that they close it, not we
GC_THRESHOLD = 20_000


def main() -> None:
    """Serves until SIGTERM; then it stops accepting, finishes what is in flight for at most
    `drain_ms`, and settles."""
    settings = begin("gateway")
    server = _Server(settings)
    # What was loaded stays: the collector need not look at it again. Requests make few cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    server.run(sockets=[inherited_socket()])


class _Server(SaysReady):
    """Serves a worker's gateway, by the settings that it hears of last."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(_configuration(settings, self._gateway))
        self._settings = settings
        self.hearing = Hearing(self._become, lambda: self.server_state.tasks)
        self._worker: Worker

    def _gateway(self) -> Gateway:
        """Called inside of the loop that it needs."""
        self._worker = Worker(self._settings, is_declared)
        return self._worker.gateway

    async def _become(self, settings: Settings) -> None:
        await self._worker.become(settings)


def _configuration(settings: Settings, gateway: Callable[[], Gateway]) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        factory=True,
        loop="uvloop",
        http=CorkedHttpProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=-(-settings.gateway.drain_ms // 1000),
    )


if __name__ == "__main__":
    main()
