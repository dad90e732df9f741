"""`comptroller reload`: the running stack reads its configuration file again."""

import json

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import printable, told


@told()
def reload_command(
    admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Have the running stack read its configuration file again. Exits 1 where it is refused."""
    with admin(admin_url, data_dir, "comptroller check --config comptroller.yaml") as client:
        done = client.reload()
    if as_json:
        typer.echo(json.dumps(done))
        return
    changed = ", ".join(done["changed"]) or "nothing has changed"
    typer.echo(printable(f"version {done['version']}: {changed}"))
