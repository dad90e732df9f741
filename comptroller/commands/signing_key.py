"""`comptroller run signing-key`: what servers check the requests of workflows with."""

import json

import typer

from comptroller.commands.options import Config, DataDir, Json
from comptroller.commands.outcome import CommandFailed, told


@told()
def signing_key_command(
    config: Config = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Print the key that signs the requests of `http` steps, for the servers that they go to."""
    from comptroller.commands.records import settings_of
    from comptroller.data_dir import absolute, runs_secret_file
    from comptroller.runs_database import runs_secret
    from orchestrator.running.attempt_secrets import MasterInvalid, signing_secret

    settings = settings_of(config, data_dir)
    file = runs_secret_file(absolute(settings.data_dir))
    if not (settings.workflows.runs_secret or file.exists()):
        message = f"{file.parent} has executed no workflow yet: its key is made when it starts"
        raise CommandFailed(message, "comptroller up")
    try:
        key = signing_secret(runs_secret(settings)).hex()
    except (MasterInvalid, OSError) as error:
        raise CommandFailed(str(error), "comptroller doctor") from None
    typer.echo(json.dumps({"signing_key": key}) if as_json else key)
