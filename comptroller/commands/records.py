"""How commands ask the records: settings, a client of clickhouse-connect, and its troubles told."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comptroller.commands.outcome import CommandFailed
from comptroller.exits import USAGE_ERROR

if TYPE_CHECKING:
    from comptroller.document import Written
    from comptroller.settings import Settings


def settings_of(
    config: "Path | Written | None",
    data_dir: str | None,
    overrides: Mapping[str, str] | None = None,
    *,
    models: bool = False,
) -> "Settings":
    """What file and environment say, and `overrides` over both; with `models` also model_list,
    whose prices are looked up, which takes its time. Raises CommandFailed (2)."""
    from comptroller.document import ConfigInvalid
    from comptroller.settings import load_settings

    environment = {**os.environ, **(overrides or {})}
    if data_dir is not None:
        environment["COMPTROLLER_DATA_DIR"] = data_dir
    try:
        return load_settings(config, environment, models=models)
    except ConfigInvalid as error:
        again = f"comptroller check --config {config}" if config else "comptroller check"
        raise CommandFailed(str(error), again, USAGE_ERROR) from None


def written_of(config: Path | None) -> "Written | None":
    """What the file says now; its name is absolute, so that it is found again. Raises CommandFailed
    (2)."""
    from comptroller.document import ConfigInvalid, read_written

    if config is None:
        return None
    try:
        return read_written(config.absolute())
    except ConfigInvalid as error:
        again = f"comptroller check --config {config}"
        raise CommandFailed(str(error), again, USAGE_ERROR) from None


def records_client(settings: "Settings", organisation: str) -> Any:  # noqa: ANN401  # untyped driver
    """A client that reads: of all, or of one organisation's rows."""
    from clickhouse_connect import get_client
    from clickhouse_connect.driver.httputil import get_pool_manager

    from comptroller.reading import records_address

    address = records_address(settings, organisation)
    embedded = not settings.records.clickhouse_url
    return get_client(
        dsn=f"{address.url}/comptroller",
        username=address.user,
        password=address.password,
        autogenerate_session_id=False,
        # Never through a proxy that the environment names; a server is told not to write either.
        pool_mgr=get_pool_manager() if embedded else None,
        settings={} if embedded else {"readonly": 2},
    )


def _said(text: str) -> str:
    """What ClickHouse says, without what the driver puts around it."""
    from clickhouse.errors import refused

    _, driver, response = text.partition("server response: ")
    error = refused(response.rpartition(" (for url ")[0] or response)
    said = f"{error.message} (ClickHouse code {error.code})" if driver else text
    return " ".join(said.split())


@contextlib.contextmanager
def records_told(again: str) -> Iterator[None]:
    """Troubles of the records as CommandFailed; `again` is what to type once a query was wrong."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from budgets.policy import PolicyInvalid
    from clickhouse.accounts import SecretUnusable
    from clickhouse.errors import RecordsError
    from comptroller.reading import RecordsAbsent
    from recorder.heads import HeadsDamaged, SigningKeyUnusable

    try:
        yield
    except PolicyInvalid as error:
        raise CommandFailed(str(error), again, USAGE_ERROR) from None
    except RecordsAbsent as error:
        raise CommandFailed(str(error), "comptroller doctor") from None
    except ClickHouseError as error:
        raise CommandFailed(_said(str(error)), again) from None
    except BrokenPipeError:
        raise
    except (RecordsError, HeadsDamaged, SigningKeyUnusable, SecretUnusable, OSError) as error:
        raise CommandFailed(str(error), "comptroller doctor") from None
