"""What a console is made of, put together once at its start and passed down."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from budgets.administration import Administration
from budgets.keys import KeyRing
from budgets.overview import Overview
from budgets.session import Session
from console.charges import NoTariff, Tariff
from console.options import ConsoleOptions
from console.records import Records, Where
from console.reloading import NoReloads, Reloads
from console.streams import Streams
from console.token_store import Token, TokenStore
from console.workflows import Runs, Workflows
from gateway.events import KeyEvents


@dataclass(frozen=True, slots=True)
class Parts:
    """Session (clock, ledger transport), records, tariff and workflows are the seams that tests
    replace; `runs` is the database of the last; `streams` are those that are open;
    `stopping` ends what would go on for ever; `is_declared` tells whether what the configuration
    declares is in the ledger; `reloads` has the configuration read again."""

    session: Session
    administration: Administration
    overview: Overview
    tokens: TokenStore
    records: Records
    options: ConsoleOptions
    streams: Streams
    runs: Runs
    workflows: Workflows = field(default_factory=Workflows)
    tariff: Tariff = field(default_factory=NoTariff)
    reloads: Reloads = field(default_factory=NoReloads)
    is_declared: Callable[[], bool] = lambda: True
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def keyring(self, caller: Token) -> KeyRing:
        """Keys, as this caller changes them."""
        return KeyRing(self.session, self.administration, KeyEvents(caller.name))


def parts_of(
    session: Session,
    where: Where,
    options: ConsoleOptions | None = None,
    tariff: Tariff | None = None,
    is_declared: Callable[[], bool] = lambda: True,
    reloads: Reloads | None = None,
    workflows: Workflows | None = None,
) -> Parts:
    """Everything over a session, a way to the records, prices, a way to the file, and what is known
    of workflows."""
    options = options or ConsoleOptions()
    workflows = workflows or Workflows()
    return Parts(
        session=session,
        administration=Administration(session),
        overview=Overview(session),
        tokens=TokenStore(session, options.tokens_max, options.organisation_tokens_max),
        records=Records(where, options),
        options=options,
        streams=Streams(options.streams_max, options.organisation_streams_max),
        runs=Runs(workflows),
        workflows=workflows,
        tariff=tariff or NoTariff(),
        reloads=reloads or NoReloads(),
        is_declared=is_declared,
    )
