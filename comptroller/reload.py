"""Reading the configuration again while everything runs.

The file is read once, by the supervisor, and is whole and understood before anything else happens:
a part never looks at it. One reload comes after the other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from budgets.administration import ScopeClosed
from budgets.transport import LedgerUnavailable
from comptroller.channel import Configuration, ReloadAnswer, ReloadWanted
from comptroller.document import ConfigInvalid, Written, read_written
from comptroller.options import OPTIONS, Option
from comptroller.settings import Settings, load_settings
from comptroller.supervise import PartFailed

REFUSED: Final = "configuration_refused"
RESTART: Final = "restart_needed"
LEDGER: Final = "ledger_unavailable"
HALF_DECLARED: Final = "budgets and keys may be declared in part, all else is as it was"
_log = logging.getLogger("comptroller.up")

Note = Callable[[Configuration, str], None]
Apply = Callable[[Settings, Configuration, str], Awaitable[None]]


class ReloadRefused(RuntimeError):
    """Nothing is served by the new file; `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Reloads:
    """Of one file. `written` is what it said when `settings` were read, None where there is none;
    `environment` that of the start. `apply` has settings that are sound, the version that all parts
    are to have, and by whom; `note` has what holds after each, and why it was refused. Reloads wait
    until `ready` is set."""

    def __init__(
        self,
        settings: Settings,
        written: Written | None,
        environment: Mapping[str, str],
        apply: Apply,
        note: Note = lambda _, __: None,
    ) -> None:
        self.ready = asyncio.Event()
        self.configuration = Configuration(1, written)
        self._settings = settings
        self._environment = environment
        self._apply = apply
        self._note = note
        self._turn = asyncio.Lock()
        self._working: asyncio.Task[ReloadAnswer] | None = None
        self._is_closed = False

    async def __call__(self, wanted: ReloadWanted) -> ReloadAnswer:
        """Reads the file and has it applied. Never raises: what went wrong is in the answer, and in
        the log."""
        await self.ready.wait()
        async with self._turn:
            if self._is_closed:
                return ReloadAnswer(wanted.number, 0, code=REFUSED, message="it is just stopping")
            self._working = asyncio.create_task(self._answer(wanted))
            answer = await self._working
            self._note(self.configuration, answer.message)
            return answer

    async def close(self) -> None:
        """None begins any more; the one that runs is given up."""
        self._is_closed = True
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _answer(self, wanted: ReloadWanted) -> ReloadAnswer:
        number, version = wanted.number, self.configuration.version
        try:
            changed = await self._reload(wanted.by)
        except ReloadRefused as error:
            _log.error("the configuration was not reloaded: %s", error)
            return ReloadAnswer(number, version, code=error.code, message=str(error))
        except Exception:  # noqa: BLE001  # told as one, and logged whole
            _log.exception("the configuration was not reloaded")
            message = f"the reload failed: {HALF_DECLARED}; up.log has the reason"
            return ReloadAnswer(number, version, code=REFUSED, message=message)
        told = self.configuration
        said = ", ".join(changed) or "nothing"
        _log.info("version %d of %s, by %s: %s", told.version, told.written, wanted.by, said)
        return ReloadAnswer(number, told.version, changed)

    async def _reload(self, by: str) -> tuple[str, ...]:
        settings, written = await self._read()
        fixed = restart_needed(self._settings, settings)
        if fixed:
            names = ", ".join(fixed)
            raise ReloadRefused(
                RESTART, f"{written}: {names} cannot change while things run: start `up` again"
            )
        configuration = Configuration(self.configuration.version + 1, written)
        try:
            await self._apply(settings, configuration, by)
        except LedgerUnavailable as error:
            message = f"the ledger: {error}; {HALF_DECLARED}: reload again"
            raise ReloadRefused(LEDGER, message) from None
        except ScopeClosed as error:
            raise ReloadRefused(REFUSED, f"{written}: {error}; {HALF_DECLARED}") from None
        except (PartFailed, OSError) as error:
            raise ReloadRefused(REFUSED, str(error)) from None
        changed = changed_parts(self._settings, settings)
        self._settings, self.configuration = settings, configuration
        return changed

    async def _read(self) -> tuple[Settings, Written]:
        before = self.configuration.written
        if before is None:
            raise ReloadRefused(REFUSED, "`up` was started without --config: there is no file")
        has_models = bool(self._settings.models)
        try:
            written = await asyncio.to_thread(read_written, Path(before.file))
            settings = await asyncio.to_thread(
                load_settings, written, self._environment, models=has_models
            )
        except ConfigInvalid as error:
            raise ReloadRefused(REFUSED, str(error)) from None
        return settings, written


def restart_needed(before: Settings, now: Settings) -> list[str]:
    """Names of the settings that differ and cannot change while things run. Never a value: it could
    be a secret."""
    names = [
        option.full_name
        for option in OPTIONS
        if option.needs_restart and _value(before, option) != _value(now, option)
    ]
    if before.admin_token != now.admin_token:
        names.append("general_settings.master_key")
    return names


def changed_parts(before: Settings, now: Settings) -> tuple[str, ...]:
    """Which parts of the file say something else."""
    parts = {
        "model_list": (before.models, now.models),
        "router_settings": (before.router, now.router),
        "gateway": (before.gateway, now.gateway),
        "budgets": (before.budgets, now.budgets),
        "keys": (before.keys, now.keys),
    }
    return tuple(name for name, (old, new) in parts.items() if old != new)


def _value(settings: Settings, option: Option) -> object:
    part = option.part or option.section
    return getattr(getattr(settings, part) if part else settings, option.name)
