"""The time that all executors of a database share, without asking it each time."""

from budgets.session import Clock

STEP_MS = 1_000


class SharedClock:
    """This machine's clock, set by the database's: what is due by the one is due by the other."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead_ms: int | None = None

    def now_ms(self) -> int:
        """Ms since 1970."""
        return self._own.now_ms() + (self._ahead_ms or 0)

    def heard(self, now_ms: int) -> None:
        """The database has just said that it is so late. It is never earlier than that afterwards;
        an answer that was long on its way does not set the clock back."""
        ahead_ms = now_ms - self._own.now_ms()
        known_ms = self._ahead_ms
        if known_ms is None or ahead_ms > known_ms or known_ms - ahead_ms > STEP_MS:
            self._ahead_ms = ahead_ms
