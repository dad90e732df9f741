"""A start that must fail: what it said, how it ended, and that it left no process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.gateway.processes import all_gone, processes_of, started

ENDED_S_MAX = 80  # the recorder waits for an engine's folder for 20


@dataclass(frozen=True, slots=True)
class Refused:
    """Its exit code and all that it printed."""

    code: int
    output: str


async def refused(
    folder: Path,
    *,
    config: object = None,
    record: bool = False,
    admin: bool = False,
    environment: Mapping[str, str] | None = None,
    more: tuple[str, ...] = (),
    alone: bool = True,
) -> Refused:
    """Starts `comptroller up` and waits for its end; `alone`: nothing else runs in the folder."""
    _make(folder)
    running = await started(
        folder, config=config, record=record, admin=admin, environment=environment, more=more
    )
    try:
        code = await running.ended(ENDED_S_MAX)
    finally:
        if running.process.returncode is None:
            await running.kill_all()
    if alone:
        await all_gone(processes_of(folder))
    return Refused(code, running.output[running.printed_before :])


def _make(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
