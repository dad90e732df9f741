"""What a worker is made of, put together once at its start and passed down."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from budgets.endings import Endings
from budgets.keys import KeyRing
from budgets.learning import Learning
from budgets.leases import LeaseKeeper
from budgets.ledger import Ledger
from budgets.minting import Minting
from budgets.session import Clock
from gateway.cooldowns import Cooldowns
from gateway.options import GatewayOptions
from gateway.refusal_log import RefusalLog
from gateway.routes import Routes
from gateway.waiting import WaitingLines


@dataclass(frozen=True, slots=True)
class Parts:
    """Clock, ledger and upstreams (in the routes) are the seams that the simulation replaces.
    `is_declared`: whether what the configuration declares is in the ledger; `chance`: from 0 up to
    1, which deployment it is."""

    clock: Clock
    ledger: Ledger
    endings: Endings
    keeper: LeaseKeeper
    keyring: KeyRing
    learning: Learning
    minting: Minting
    routes: Routes
    cooldowns: Cooldowns
    lines: WaitingLines
    refusals: RefusalLog
    options: GatewayOptions
    is_declared: Callable[[], bool] = lambda: True
    chance: Callable[[], float] = random.random
