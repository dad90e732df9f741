"""The admin API's process: `python -m comptroller.administer <listening socket>`."""

import asyncio
from functools import cache, partial

from comptroller.channel import ReloadAnswer
from comptroller.hearing import Hearing, NobodyHears
from comptroller.parts import open_session
from comptroller.process import SaysReady, begin, inherited_socket, is_declared
from comptroller.reading import NoSuchUser, RecordsAbsent, records_address
from comptroller.remembering import records_memory
from comptroller.repricing import ListedTariff
from comptroller.runs_database import callbacks, connection, programs_folder
from comptroller.settings import Settings
from console.app import build_console
from console.charges import Charged, Owed
from console.errors import ConfigurationRefused, ConsoleError, LedgerGone, RestartNeeded
from console.parts import parts_of
from console.records import NoUser, RecordsAddress, RecordsAway
from console.reloading import Reloaded
from console.server import ConsoleServer
from console.workflows import Workflows


class _Server(SaysReady, ConsoleServer):
    """Says when it listens, and ends streams when it is to stop."""


def main() -> None:
    """Serves until SIGTERM."""
    asyncio.run(_serve(begin("admin")))


async def _serve(settings: Settings) -> None:
    session = open_session(settings, memory=records_memory(settings))
    tariff = CurrentTariff(settings)
    models = CurrentModels(settings)

    async def become(changed: Settings) -> None:
        await tariff.become(changed)
        models.become(changed)

    hearing = Hearing(become)
    parts = parts_of(
        session,
        RecordsOf(settings),
        tariff=tariff,
        is_declared=is_declared,
        reloads=SupervisorReloads(hearing),
        workflows=workflows_of(settings, models),
    )
    server = _Server(build_console(parts))
    server.hearing = hearing
    await server.serve([inherited_socket()])


class CurrentTariff:
    """Prices of the model_list that holds now. See console.charges.Tariff."""

    def __init__(self, settings: Settings) -> None:
        self._listed = ListedTariff(settings.models)

    def owed(self, used: Charged) -> Owed:
        """See console.charges.Tariff."""
        return self._listed.owed(used)

    async def become(self, settings: Settings) -> None:
        """Another model_list from now on."""
        self._listed = ListedTariff(settings.models)


class CurrentModels:
    """Names that a workflow may ask for, by the model_list that holds now."""

    def __init__(self, settings: Settings) -> None:
        self.become(settings)

    def __call__(self) -> frozenset[str]:
        """See console.workflows.Workflows."""
        return self._names

    def become(self, settings: Settings) -> None:
        """Other ones from now on."""
        named = {each.name for each in settings.models}
        self._names = frozenset(named | {*settings.router.aliases})


def workflows_of(settings: Settings, models: CurrentModels) -> Workflows:
    """What these settings say of workflows."""
    return Workflows(
        connect=partial(connection, settings),
        callbacks=cache(partial(callbacks, settings)),
        models=models,
        programs_folder=programs_folder(settings),
    )


class SupervisorReloads:
    """The supervisor reads the file and tells all parts, this one too. See
    console.reloading.Reloads."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing

    async def __call__(self, by: str) -> Reloaded:
        """See console.reloading.Reloads."""
        try:
            answer = await self._hearing.ask(by)
        except NobodyHears as error:
            raise ConfigurationRefused(str(error)) from None
        if answer.code:
            raise _refusal(answer)
        return Reloaded(answer.version, answer.changed)


def _refusal(answer: ReloadAnswer) -> ConsoleError:
    for kind in (RestartNeeded, LedgerGone):
        if answer.code == kind.code:
            return kind(answer.message)
    return ConfigurationRefused(answer.message)


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
