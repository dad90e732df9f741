"""What goes wrong between processes: on the way to the ledger, the records and the providers."""

import random

from tests.simulation.provider import MOODS
from tests.simulation.world import World


class Storms:
    """Each makes something likelier until it clears up. `moods` are the providers', where they are
    not left to the seed."""

    def __init__(self, world: World, rng: random.Random, moods: tuple[str, ...]) -> None:
        self.world = world
        self.rng = rng
        self._moods = moods

    def lose_replies(self) -> None:
        """Calls are executed, and nobody hears of it."""
        self.world.weather.ledger_reply_lost = self._chance()

    def lose_requests(self) -> None:
        """Calls are not executed."""
        self.world.weather.ledger_request_lost = self._chance()

    def ledger_away(self) -> None:
        """Nobody can connect."""
        self.world.weather.ledger_refuses = True
        self.world.server.break_all()

    def slow_network(self) -> None:
        """Or a fast one."""
        self.world.network.latency_s = self.rng.choice((0.003, 0.05, 0.5, 1.5))

    def store_away(self) -> None:
        """It cannot be reached."""
        self.world.weather.store_unavailable = self.rng.choice((0.2, 1.0))

    def store_refuses(self) -> None:
        """It says no."""
        self.world.weather.store_refuses = self.rng.choice((0.2, 1.0))

    def store_loses_answers(self) -> None:
        """It has written, and nobody hears of it."""
        self.world.weather.store_answer_lost = self.rng.choice((0.2, 0.8))

    def store_is_late(self) -> None:
        """It writes what it said it had not."""
        self.world.weather.store_late = self.rng.choice((0.1, 0.5))

    def store_swallows(self) -> None:
        """It says that it has written."""
        self.world.weather.store_swallows = 0.1

    def store_is_behind(self) -> None:
        """It does not show what it has."""
        self.world.weather.store_behind = 0.3

    def providers_away(self) -> None:
        """Nobody can connect."""
        self.world.weather.provider_refuses = True

    def change_moods(self) -> None:
        """Providers behave in other ways."""
        moods = self._moods or self.rng.sample(MOODS, self.rng.randint(1, 5))
        self.world.weather.moods = {"answers": 1.0} | dict.fromkeys(moods, 0.5)

    def clear_up(self) -> None:
        """All of this ends, but for the moods."""
        moods = self.world.weather.moods
        self.world.weather.fine()
        self.world.weather.moods = moods
        self.world.network.latency_s = 0.003

    def _chance(self) -> float:
        return self.rng.choice((0.01, 0.05, 0.3))
