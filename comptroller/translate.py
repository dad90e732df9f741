"""The translator's process: `python -m comptroller.translate <listening socket>`. It knows nothing
of the ledger, and connects to providers alone."""

import os
import socket
from collections.abc import Mapping

import uvicorn

from comptroller.hearing import Hearing
from comptroller.process import SaysReady, begin, inherited_socket
from comptroller.settings import Settings
from comptroller.translated import deployment, is_translated
from translator import gate
from translator.app import TranslatorApp
from translator.deployment import Deployment
from translator.engine import Engine
from translator.rehearsal import Rehearsals

KEEP_ALIVE_S = 75  # longer than the gateway keeps a connection, so that it closes it, not we


class _Server(SaysReady):
    """Is ready when it has tried how each provider is spoken to. `environment` is that of its
    start, of which LiteLLM sees a part."""

    def __init__(self, settings: Settings, engine: Engine, environment: Mapping[str, str]) -> None:
        self._known = _known(settings)
        self._rehearsals = Rehearsals(engine)
        self._app = TranslatorApp(self._known, engine, self._rehearsals.origins)
        super().__init__(_configuration(settings, self._app))
        self.hearing = Hearing(self._become, environment=environment)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await self._rehearsals.begin(self._known.values())
        await super().startup(sockets)

    async def _become(self, settings: Settings) -> None:
        """Before the workers do: no request may come for what is not known here yet."""
        more = _known(settings)
        await self._rehearsals.begin(more.values())
        self._known |= more
        self._app.also_serves(more)


def main() -> None:
    """Serves until SIGTERM; then it finishes what is in flight for at most `drain_ms`."""
    settings = begin("translator", needs_ledger=False)
    environment = dict(os.environ)  # whole, for files that come later
    engine = Engine()
    gate.close()
    _Server(settings, engine, environment).run(sockets=[inherited_socket()])


def _known(settings: Settings) -> dict[str, Deployment]:
    served = [deployment(each) for each in settings.models if is_translated(each.provider)]
    return {each.id: each for each in served}


def _configuration(settings: Settings, app: TranslatorApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",  # not uvloop: see translator.gate
        http="httptools",
        ws="none",
        lifespan="off",
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
