"""What may go wrong at the moment, and how often it has: the director writes, the world reads."""

import random
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Weather:
    """Chances are per call. `fine` ends all of it."""

    rng: random.Random
    tally: Counter[str]
    ledger_request_lost: float = 0.0
    ledger_reply_lost: float = 0.0
    ledger_unsynced: float = 0.0
    ledger_refuses: bool = False
    ledger_paused_until: float = 0.0
    store_unavailable: float = 0.0
    store_refuses: float = 0.0
    store_answer_lost: float = 0.0
    store_late: float = 0.0
    store_swallows: float = 0.0
    store_behind: float = 0.0
    provider_refuses: bool = False
    moods: dict[str, float] = field(default_factory=dict)

    def fine(self) -> None:
        """Nothing goes wrong any more."""
        for name in self.__dataclass_fields__:
            if isinstance(getattr(self, name), float):
                setattr(self, name, 0.0)
        self.ledger_refuses = self.provider_refuses = False
        self.moods = {"answers": 1.0}

    def strikes(self, name: str) -> bool:
        """Whether the fault of this name happens now; it is counted."""
        chance = getattr(self, name)
        if chance and self.rng.random() < chance:
            self.tally[f"fault:{name}"] += 1
            return True
        return False
