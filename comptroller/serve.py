"""Runs gateway workers: processes behind one listening socket, restarted when they die.

A worker is built from the environment alone (`COMPTROLLER_CONFIG`, `COMPTROLLER_REDIS_URL`),
because it is a fresh process: nothing is forked that holds a connection.
"""

import gc
import multiprocessing
import os
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from budgets.embedded import die_with_parent
from comptroller.parts import build_gateway
from comptroller.settings import Settings, load_settings
from gateway.app import Gateway
from gateway.corked import CorkedHttpProtocol

KEEP_ALIVE_S = 75  # longer than clients' pools keep a connection, so that they close it, not we
BACKLOG = 2048
GC_THRESHOLD = 20_000
CONFIG_VARIABLE = "COMPTROLLER_CONFIG"
REDIS_VARIABLE = "COMPTROLLER_REDIS_URL"


def worker_app() -> Gateway:
    """The ASGI application of one worker process."""
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        raise SystemExit("the supervisor is gone")  # it died before the kernel was asked to tell
    path = os.environ.get(CONFIG_VARIABLE)
    settings = load_settings(Path(path) if path else None, os.environ)
    gateway = build_gateway(settings, os.environ[REDIS_VARIABLE])
    # What was loaded stays: the collector need not look at it again. Requests make few cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    return gateway


def serve(settings: Settings, config_path: Path | None, redis_url: str) -> None:
    """Runs the workers until SIGTERM or SIGINT; then they stop accepting, finish what is in flight
    for at most `drain_ms`, and settle."""
    if config_path is not None:
        os.environ[CONFIG_VARIABLE] = str(config_path)
    os.environ[REDIS_VARIABLE] = redis_url
    config = uvicorn.Config(
        "comptroller.serve:worker_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=CorkedHttpProtocol,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=-(-settings.gateway.drain_ms // 1000),
    )
    _Workers(config, sockets=[config.bind_socket()]).run()


class _Workers(Multiprocess):
    """uvicorn's supervisor, which lets go of the listening socket when it stops: else the kernel
    takes connections that nobody will serve."""

    def terminate_all(self) -> None:
        """See Multiprocess."""
        for each in self.sockets:
            each.close()
        super().terminate_all()
