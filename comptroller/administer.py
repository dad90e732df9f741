"""The admin API's process: `python -m comptroller.administer <listening socket>`."""

import asyncio

from clickhouse.accounts import READER, RecordsSecret
from comptroller.data_dir import absolute, secret_file, url_file
from comptroller.parts import open_session
from comptroller.process import SaysReady, begin, inherited_socket
from comptroller.settings import Settings
from console.app import build_console
from console.parts import parts_of
from console.records import NoUser, RecordsAddress, RecordsAway
from console.server import ConsoleServer


class _Server(SaysReady, ConsoleServer):
    """Says when it listens, and ends streams when it is to stop."""


def main() -> None:
    """Serves until SIGTERM."""
    asyncio.run(_serve(begin("admin")))


async def _serve(settings: Settings) -> None:
    parts = parts_of(open_session(settings.redis_url), RecordsOf(settings))
    await _Server(build_console(parts)).serve([inherited_socket()])


class RecordsOf:
    """Where the records of these settings are: see console.records.Where."""

    def __init__(self, settings: Settings) -> None:
        self._options = settings.records
        self._data_dir = absolute(settings.data_dir)

    def __call__(self, organisation: str) -> RecordsAddress:
        """See console.records.Where."""
        options = self._options
        if options.clickhouse_url:
            if organisation:
                raise NoUser(
                    "at a ClickHouse server an organisation has no user: ask without a token that "
                    "is bound to one"
                )
            user, password = options.clickhouse_user, options.clickhouse_password
            return RecordsAddress(options.clickhouse_url, user, password)
        try:
            url = url_file(self._data_dir).read_text(encoding="ascii")
        except OSError:
            raise RecordsAway("no recorder runs here: see its log, `comptroller doctor`") from None
        secret = RecordsSecret.load_or_create(secret_file(self._data_dir))
        try:
            password = (
                secret.password_of_organisation(organisation)
                if organisation
                else secret.password_of(READER)
            )
        except ValueError as error:
            raise NoUser(str(error)) from None
        return RecordsAddress(url, organisation or READER, password)


if __name__ == "__main__":
    main()
