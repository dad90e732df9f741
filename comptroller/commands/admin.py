"""How commands reach the admin API, and how its refusals are told."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from comptroller.commands.outcome import CommandFailed
from comptroller.exits import FAILED, USAGE_ERROR
from comptroller.variables import ADMIN_TOKEN_VARIABLE

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient, AdminRefused


@contextlib.contextmanager
def admin(
    admin_url: str, data_dir: str | None, look: str, *, usage: str = ""
) -> Iterator["AdminClient"]:
    """A client of the running stack; `look` is the command that shows what there is, for those who
    named what there is not, and `usage` the one that says how to ask, where that is another. Raises
    CommandFailed for what the API says and for its absence."""
    from comptroller.admin_client import (
        AdminAbsent,
        AdminClient,
        AdminRefused,
        AdminUnusable,
        admin_address,
    )
    from comptroller.data_dir import admin_token_file

    folder = data_folder(data_dir)
    token = os.environ.get(ADMIN_TOKEN_VARIABLE, "")
    try:
        with AdminClient(admin_address(admin_url, token, folder)) as client:
            yield client
    except AdminUnusable as error:
        raise CommandFailed(str(error), f"export {error.variable}=...", USAGE_ERROR) from None
    except AdminAbsent as error:
        start = "comptroller doctor" if admin_url else f"comptroller up --data-dir {folder}"
        raise CommandFailed(str(error), start) from None
    except AdminRefused as error:
        if error.status == 401:
            kept = admin_token_file(folder)
            where = f"$(cat {kept})" if kept.exists() else "..."
            raise CommandFailed(str(error), f"export {ADMIN_TOKEN_VARIABLE}={where}") from None
        raise _told(error, look, usage or look) from None


def _told(error: "AdminRefused", look: str, usage: str) -> CommandFailed:
    if error.status in (400, 413, 422):
        return CommandFailed(str(error), usage, USAGE_ERROR)
    return CommandFailed(str(error), look if error.status < 500 else "comptroller doctor", FAILED)


def data_folder(data_dir: str | None) -> Path:
    """As given, else the default of `comptroller up`."""
    if data_dir:
        return Path(data_dir).absolute()
    from comptroller.options import OPTIONS

    default = next(option.default for option in OPTIONS if option.name == "data_dir")
    return Path(str(default)).absolute()
