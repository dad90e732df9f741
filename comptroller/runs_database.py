"""The database of runs and what belongs to it: where the orchestrator and the admin API meet."""

from pathlib import Path

from comptroller.data_dir import absolute, runs_file, runs_secret_file
from comptroller.greeting import address
from comptroller.settings import Settings
from orchestrator.running.attempt_secrets import kept_master
from orchestrator.running.callbacks import Callbacks
from orchestrator.running.database import Database, migrate
from orchestrator.running.sqlite import SqliteDatabase


def connection(settings: Settings) -> Database:
    """To the database of runs, with its schema as this version wants it. Raises DatabaseAway."""
    if settings.database_url:
        from orchestrator.running.postgres import PostgresDatabase  # noqa: PLC0415  # few need it

        database: Database = PostgresDatabase(settings.database_url)
    else:
        database = SqliteDatabase(runs_file(absolute(settings.data_dir)))
    migrate(database)
    return database


def runs_secret(settings: Settings) -> bytes:
    """What keys of attempts and addresses of callbacks are derived from."""
    if settings.workflows.runs_secret:
        return settings.workflows.runs_secret.encode()
    return kept_master(runs_secret_file(absolute(settings.data_dir)))


def programs_folder(settings: Settings) -> Path | None:
    """Whose workflows may run programs; None where none may."""
    folder = settings.workflows.programs_folder
    return Path(folder).resolve() if folder else None


def callbacks(settings: Settings) -> Callbacks:
    """Where servers end steps."""
    here = address(settings.admin_host, settings.admin_port)
    url = (settings.workflows.callback_url or here).rstrip("/")
    return Callbacks(url, runs_secret(settings))
