"""Options that several commands have, spelt once, and the variables that stand for them.

Gateway workers import the command line, too: nothing heavy is imported here.
"""

from pathlib import Path
from typing import Annotated

import typer

from comptroller.variables import (
    ADMIN_URL_VARIABLE,
    BASE_URL_VARIABLE,
    CONFIG_VARIABLE,
    DATA_DIR_VARIABLE,
)

Config = Annotated[
    Path | None, typer.Option("--config", help="comptroller.yaml", envvar=CONFIG_VARIABLE)
]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", help="The data dir of `comptroller up`.", envvar=DATA_DIR_VARIABLE),
]
AdminUrl = Annotated[
    str,
    typer.Option(
        "--admin-url",
        help="The admin API; else what the data dir says. Its token: COMPTROLLER_ADMIN_TOKEN.",
        envvar=ADMIN_URL_VARIABLE,
    ),
]
BaseUrl = Annotated[
    str,
    typer.Option(
        "--base-url", help="The gateway, as in http://127.0.0.1:4000/v1.", envvar=BASE_URL_VARIABLE
    ),
]
Organisation = Annotated[str, typer.Option("--organisation", help="Only this organisation's rows.")]
Json = Annotated[bool, typer.Option("--json", help="JSON: an object, or one in each line.")]
