"""The admin API's process: `python -m comptroller.administer <listening socket>`."""

import asyncio

from comptroller.parts import open_session
from comptroller.process import SaysReady, begin, inherited_socket, is_declared
from comptroller.reading import NoSuchUser, RecordsAbsent, records_address
from comptroller.remembering import records_memory
from comptroller.repricing import ListedTariff
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
    session = open_session(settings, memory=records_memory(settings))
    parts = parts_of(
        session, RecordsOf(settings), tariff=ListedTariff(settings.models), is_declared=is_declared
    )
    await _Server(build_console(parts)).serve([inherited_socket()])


class RecordsOf:
    """Where the records of these settings are: see console.records.Where."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, organisation: str) -> RecordsAddress:
        """See console.records.Where."""
        try:
            address = records_address(self._settings, organisation)
        except NoSuchUser as error:
            raise NoUser(str(error)) from None
        except RecordsAbsent as error:
            raise RecordsAway(str(error)) from None
        return RecordsAddress(address.url, address.user, address.password)


if __name__ == "__main__":
    main()
