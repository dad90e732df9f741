"""What `comptroller doctor` finds: one line for each check."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`do` is what to do about it, empty where nothing is wrong."""

    check: str
    status: Status
    message: str
    do: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


Check = Callable[[], list[Finding]]


def ok(check: str, message: str) -> list[Finding]:
    """Nothing to do."""
    return [Finding(check, "ok", message)]


def warn(check: str, message: str, do: str) -> list[Finding]:
    """It works, and will hurt."""
    return [Finding(check, "warn", message, do)]


def fail(check: str, message: str, do: str) -> list[Finding]:
    """`comptroller up` does not work, or not for long."""
    return [Finding(check, "fail", message, do)]
