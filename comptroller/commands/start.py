"""`comptroller up`: everything on this machine, in the foreground."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from comptroller.commands.options import Config, DataDir
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.records import settings_of, written_of
from comptroller.exits import USAGE_ERROR


class Only(StrEnum):
    """A part that can run alone, on a ledger that others share."""

    GATEWAY = "gateway"
    RECORDER = "recorder"
    ADMIN = "admin"
    ORCHESTRATOR = "orchestrator"


_NONE = {"WORKERS": "0", "RECORD": "false", "ADMIN": "false", "ORCHESTRATE": "false"}
_ALONE = {
    Only.GATEWAY: {each: said for each, said in _NONE.items() if each != "WORKERS"},
    Only.RECORDER: {**_NONE, "RECORD": "true"},
    Only.ADMIN: {**_NONE, "ADMIN": "true"},
    Only.ORCHESTRATOR: {**_NONE, "ORCHESTRATE": "true"},
}
_SHARES = {
    "redis_url": "COMPTROLLER_REDIS_URL=redis://127.0.0.1:6379/0",
    "database_url": "COMPTROLLER_DATABASE_URL=postgresql://comptroller@127.0.0.1/runs",
}


@told()
def up_command(
    config: Config = None,
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help="Port of the data plane.")] = None,
    admin_port: Annotated[int | None, typer.Option(help="Port of the admin API.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway processes.")] = None,
    workflows: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Workflows in it may run programs on this machine; else none."
        ),
    ] = None,
    only: Annotated[
        Only | None, typer.Option(help="One part, on the ledger of COMPTROLLER_REDIS_URL.")
    ] = None,
) -> None:
    """Start everything on this machine and run until SIGTERM; SIGHUP reloads the file."""
    from budgets.transport import LedgerUnavailable
    from comptroller.data_dir import DataDirRefused
    from comptroller.supervise import PartFailed
    from comptroller.up import up
    from console.token_store import TokenWeak

    given = {"PORT": port, "ADMIN_PORT": admin_port, "WORKERS": workers}
    chosen = {name: str(each) for name, each in given.items() if each is not None}
    chosen |= _ALONE[only] if only is not None else {}
    chosen |= {"DATA_DIR": data_dir} if data_dir is not None else {}
    chosen |= {"PROGRAMS_FOLDER": str(workflows.resolve())} if workflows is not None else {}
    overrides = {f"COMPTROLLER_{name}": each for name, each in chosen.items()}
    written = written_of(config)
    settings = settings_of(written, None, overrides, models=only is not Only.RECORDER)
    if only is not None and not settings.redis_url:
        _needs("a ledger", "redis_url", only)
    if only is Only.ORCHESTRATOR and not settings.database_url:
        _needs("a database of runs", "database_url", only)
    try:
        up(settings, written, {**os.environ, **overrides})
    except (PartFailed, DataDirRefused, LedgerUnavailable, TokenWeak, OSError) as error:
        raise CommandFailed(str(error), "comptroller doctor") from None


def _needs(what: str, setting: str, only: Only) -> NoReturn:
    """Raises CommandFailed."""
    example = _SHARES[setting]
    raise CommandFailed(
        f"--only {only} needs {what} that the other parts share: {example.partition('=')[0]}",
        f"{example} comptroller up --only {only}",
        USAGE_ERROR,
    )
