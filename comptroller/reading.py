"""How the command line reads the records: over HTTP while the recorder runs, else from its folder.

A ClickHouse server is asked over HTTP in any case. The embedded engine's passwords are derived from
the secret in the data dir, so whoever may read that file may read the records.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from clickhouse.accounts import READER, RecordsSecret
from clickhouse.engine import Engine, is_open_elsewhere
from clickhouse.errors import EngineBusy
from clickhouse.store import EmbeddedStore, HttpStore, Store
from comptroller.data_dir import absolute, records_folder, secret_file, url_file
from comptroller.settings import Settings


class RecordsAbsent(RuntimeError):
    """There are no records where they were looked for."""


class NoSuchUser(RecordsAbsent):
    """An organisation has no user of its own there."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where records answer HTTP, and as whom."""

    url: str
    user: str
    password: str = field(repr=False)


def records_address(settings: Settings, organisation: str = "") -> Address:
    """The server's, or the running recorder's: with an organisation as its user, who sees no other.
    Raises RecordsAbsent."""
    options = settings.records
    if options.clickhouse_url:
        if organisation:
            raise NoSuchUser(
                "--organisation is for the embedded records: at a ClickHouse server, give the "
                "organisation a user with a row policy"
            )
        return Address(options.clickhouse_url, options.clickhouse_user, options.clickhouse_password)
    data_dir = absolute(settings.data_dir)
    # An address that a killed recorder has left may be somebody else's by now.
    if not (url_file(data_dir).exists() and is_open_elsewhere(records_folder(data_dir))):
        raise RecordsAbsent(
            f"no recorder runs on {data_dir}: start `comptroller up`, or name the right --data-dir"
        )
    secret = RecordsSecret.load_or_create(secret_file(data_dir))
    try:
        password = (
            secret.password_of_organisation(organisation)
            if organisation
            else secret.password_of(READER)
        )
    except ValueError as error:
        raise NoSuchUser(str(error)) from None
    return Address(url_file(data_dir).read_text(encoding="ascii"), organisation or READER, password)


@contextlib.asynccontextmanager
async def open_records(settings: Settings) -> AsyncIterator[Store]:
    """The whole records. Raises RecordsAbsent, EngineBusy."""
    store = await asyncio.to_thread(_store, settings)
    try:
        yield store
    finally:
        await store.close()


def _store(settings: Settings) -> Store:
    folder = records_folder(absolute(settings.data_dir))
    if not settings.records.clickhouse_url:
        if not folder.exists():
            raise RecordsAbsent(f"{folder} is not there: name the right --data-dir")
        with contextlib.suppress(EngineBusy):  # then the recorder runs, and answers HTTP
            return EmbeddedStore(Engine(folder))
    address = records_address(settings)
    return HttpStore(address.url, address.user, address.password)
