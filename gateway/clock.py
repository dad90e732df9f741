"""The real clock. Tests and the simulation pass another."""

import time


class SystemClock:
    """See budgets.session.Clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000
