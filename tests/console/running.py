"""Runs for the console's tests: the database that the console has, written beside it by acts as an
executor would."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from console.workflows import Workflows
from orchestrator.running.callbacks import Callbacks
from orchestrator.running.database import Database, migrate
from orchestrator.running.sqlite import SqliteDatabase
from tests.console.desk import Console
from tests.orchestrator.running.book import Book

SECRET = b"a secret of the runs"
MODEL = "m"
PROGRAMS = "programs"


def workflows_in(folder: Path) -> Workflows:
    """In a folder of the test's."""

    def connect() -> Database:
        database = SqliteDatabase(folder / "runs.db")
        migrate(database)
        return database

    (folder / PROGRAMS).mkdir()
    return Workflows(
        connect=connect,
        callbacks=lambda: Callbacks("http://console", SECRET),
        models=lambda: {MODEL},
        programs_folder=folder / PROGRAMS,
    )


@contextlib.contextmanager
def book_of(console: Console) -> Iterator[Book]:
    """The executor's connection to the same database."""
    book = Book(console.parts.workflows.connect())
    book.now_ms = console.parts.session.clock.now_ms() + 60_000
    try:
        yield book
    finally:
        book.database.close()


def definition(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Of a workflow of these steps, or one that sleeps, with a dollar."""
    files = fields.pop("files", None)
    workflow = {
        "name": "report",
        "budget": [{"usd": "1.00"}],
        "steps": list(steps) or [{"id": "a", "sleep": "1s"}],
        **fields,
    }
    return {"workflow": workflow, **({"files": files} if files else {})}


async def submitted(console: Console, *steps: dict[str, Any], **fields: Any) -> str:
    """A new run's id; `scope`, `token` and whatever is not the workflow's are the request's."""
    token = {"token": fields.pop("token")} if "token" in fields else {}
    of_request = {"scope": "acme/lab"} | {
        name: fields.pop(name)
        for name in ("scope", "input", "folder", "start_in")
        if name in fields
    }
    if "asks" in fields:
        fields["input"] = fields.pop("asks")
    body = {**of_request, "definition": definition(*steps, **fields)}
    run = await console.done("POST", "/v1/runs", body, **token)
    return str(run["id"])
