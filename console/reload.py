"""POST /v1/reload: the configuration file is read again."""

import logging

from fastapi import FastAPI

from console.auth import Admin
from console.errors import OtherOrganisation
from console.parts import Parts
from console.wire import Shown

_log = logging.getLogger("comptroller.console")


class ReloadShown(Shown):
    """`version` counts what was read since the start, which is 1. `changed` are the parts of the
    file that say something else than before: model_list, router_settings, gateway, budgets, keys.
    """

    version: int
    changed: list[str]


def add_routes(app: FastAPI, parts: Parts) -> None:
    """POST /v1/reload."""

    @app.post("/v1/reload", tags=["configuration"])
    async def reload(caller: Admin) -> ReloadShown:
        """Reads the configuration file again. When this has answered, every part serves by it;
        where it is refused, nothing has changed."""
        if caller.organisation:
            raise OtherOrganisation(
                f"token {caller.name} is for the organisation {caller.organisation} only, and the "
                "file is everybody's"
            )
        done = await parts.reloads(caller.name)
        _log.info("version %d of the configuration was loaded by %s", done.version, caller.name)
        return ReloadShown(version=done.version, changed=list(done.changed))
