"""One gateway worker: `python -m comptroller.work <listening socket>`. All workers of a machine
share the socket, so that a call waits while one of them is started again."""

import gc

import uvicorn

from comptroller.parts import build_gateway
from comptroller.process import SaysReady, begin, inherited_socket, is_declared
from comptroller.settings import Settings
from gateway.corked import CorkedHttpProtocol

KEEP_ALIVE_S = 75  # longer than clients' pools keep a connection, so that they close it, not we
GC_THRESHOLD = 20_000


def main() -> None:
    """Serves until SIGTERM; then it stops accepting, finishes what is in flight for at most
    `drain_ms`, and settles."""
    settings = begin("gateway")
    server = SaysReady(_configuration(settings))
    # What was loaded stays: the collector need not look at it again. Requests make few cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    server.run(sockets=[inherited_socket()])


def _configuration(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        lambda: build_gateway(settings, is_declared),  # inside the loop that it needs
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
