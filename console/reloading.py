"""Having the configuration read again: what the console asks for, and what comes of it."""

from dataclasses import dataclass
from typing import Protocol

from console.errors import ConfigurationRefused


@dataclass(frozen=True, slots=True)
class Reloaded:
    """`version` counts from 1, at the start; `changed` are the parts of the file that say something
    else than before."""

    version: int
    changed: tuple[str, ...]


class Reloads(Protocol):
    """Reads the file again, for the whole machine."""

    async def __call__(self, by: str) -> Reloaded:
        """Returns when every part serves by it. `by` is who has asked. Raises ConfigurationRefused,
        RestartNeeded, LedgerGone."""
        ...


class NoReloads:
    """Of a console that nobody has started with a file."""

    async def __call__(self, by: str) -> Reloaded:  # noqa: ARG002  # see Reloads
        """See Reloads."""
        raise ConfigurationRefused("this admin API runs by itself: no `comptroller up` started it")
