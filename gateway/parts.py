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
from gateway.hard_stops import HardStops
from gateway.options import GatewayOptions
from gateway.refusal_log import RefusalLog
from gateway.routes import Routes
from gateway.waiting import WaitingLines


class InForce:
    """What of a worker follows the configuration. Another one replaces all of it between two steps
    of the loop: no request finds half of it."""

    __slots__ = ("options", "routes")

    def __init__(self, routes: Routes, options: GatewayOptions) -> None:
        self.routes = routes
        self.options = options

    def become(self, routes: Routes, options: GatewayOptions) -> None:
        """For what is read from now on."""
        self.routes, self.options = routes, options


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
    in_force: InForce
    cooldowns: Cooldowns
    lines: WaitingLines
    refusals: RefusalLog
    hard_stops: HardStops
    is_declared: Callable[[], bool] = lambda: True
    chance: Callable[[], float] = random.random

    @property
    def routes(self) -> Routes:
        """Those of now. A request takes them once."""
        return self.in_force.routes

    @property
    def options(self) -> GatewayOptions:
        """Those of now. A request that goes on takes them once, with the routes."""
        return self.in_force.options
