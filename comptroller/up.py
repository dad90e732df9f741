"""Starts everything on one machine and keeps it running.

The ledger is first, because all others stand on it, and last to stop. Before the recorder stops the
workers have settled what they drained, so that it is recorded.
"""

import asyncio
import contextlib
import dataclasses
import io
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from budgets.embedded import EmbeddedServer
from budgets.memory import MemoryAway
from budgets.session import LedgerRecovering, Session
from comptroller.assured import assure
from comptroller.channel import Configuration, ReloadAnswer, ReloadWanted
from comptroller.children import Child, LedgerProcess
from comptroller.data_dir import (
    absolute,
    admin_token_file,
    admin_url_file,
    declared_file,
    gateway_url_file,
    held,
    in_force_file,
    kept_secret,
    logs_folder,
    looked_up_file,
    translator_socket,
)
from comptroller.declare import DECLARED_BY, declare
from comptroller.document import Written
from comptroller.first_key import FirstKey, first_key
from comptroller.greeting import Greeting
from comptroller.in_force import write_in_force
from comptroller.logs import JsonLines, opened, shorten
from comptroller.looked_up import write_looked_up
from comptroller.on_demand import OnDemand
from comptroller.parts import open_session
from comptroller.reload import Reloads
from comptroller.remembering import records_memory
from comptroller.settings import Settings
from comptroller.supervise import STOP_S_MAX, Keeper, Kept
from comptroller.terminal import has_terminal
from comptroller.translated import is_translated, listen_at
from comptroller.variables import (
    ADMIN_TOKEN_VARIABLE,
    DECLARED_VARIABLE,
    LOOKED_UP_VARIABLE,
)
from console.token_store import ensure_first_token

BACKLOG = 2048
RECORDER = "recorder"
ORCHESTRATOR = "orchestrator"
UNTOLD = (RECORDER, ORCHESTRATOR)
"""The part that hears of no configuration while it runs."""
SHORTEN_EVERY_S = 60.0
REMEMBERED_S_MAX = 30.0
OPENED_S_MAX = 5.0
_log = logging.getLogger("comptroller.up")


def up(settings: Settings, config: Written | None, environment: Mapping[str, str]) -> None:
    """Runs until SIGTERM or SIGINT, then drains and stops; at SIGHUP the file is read again.
    `settings` are those of `config` and `environment`. Raises PartFailed, DataDirRefused,
    LedgerUnavailable, OSError (a port that is taken)."""
    data_dir = absolute(settings.data_dir)
    with held(data_dir):
        logs_folder(data_dir).mkdir(mode=0o700, exist_ok=True)
        _log_to(logs_folder(data_dir) / "up.log")
        assure(settings)
        asyncio.run(_Stack(settings, config, environment, data_dir).run())


class _Stack:
    """The parts of one machine, from their start to their stop."""

    def __init__(
        self,
        settings: Settings,
        config: Written | None,
        environment: Mapping[str, str],
        data_dir: Path,
    ) -> None:
        self._data_dir = data_dir
        self._logs = logs_folder(data_dir)
        self._ledger_log = self._logs / "ledger.log"
        self._server: EmbeddedServer | None = None
        if not settings.redis_url:
            self._server = EmbeddedServer(data_dir, log_path=self._ledger_log)
        self._reloads = Reloads(settings, config, environment, self._become, self._note)
        self._settings = settings = self._of_here(settings)
        self._environment = {
            **{name: each for name, each in environment.items() if name != ADMIN_TOKEN_VARIABLE},
            "COMPTROLLER_DATA_DIR": str(data_dir),
            DECLARED_VARIABLE: str(declared_file(data_dir)),
            LOOKED_UP_VARIABLE: str(looked_up_file(data_dir)),
            "COMPTROLLER_REDIS_URL": settings.redis_url,
            "COMPTROLLER_TRUST_LEDGER": str(settings.trust_ledger).lower(),
        }
        self._token = environment.get(ADMIN_TOKEN_VARIABLE, "") or settings.admin_token
        self._first_key: FirstKey | None = None
        # Who starts it with `nohup` wants it to outlive the terminal.
        outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._needs_terminal = has_terminal() and not outlives
        self._children: dict[str, Child] = {}
        self._translator = OnDemand(
            self._translator_part, self._reloads.configuration, needed=_needs_translator(settings)
        )
        self._tiers: list[Sequence[Kept]] = []  # in the order of their start
        self._reloading: set[asyncio.Task[ReloadAnswer]] = set()

    def _of_here(self, settings: Settings) -> Settings:
        """With the ledger that this machine has made itself, where it has."""
        if self._server is None:
            return settings
        trusts = settings.trust_ledger or not settings.record  # nobody else can reach it
        redis_url = f"unix://{self._server.socket_path}"
        return dataclasses.replace(settings, redis_url=redis_url, trust_ledger=trusts)

    async def run(self) -> None:
        """Until a signal: also one that comes during the start."""
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up, told)
        write_looked_up(looked_up_file(self._data_dir), (m.source for m in self._settings.models))
        self._forget_addresses()  # those of a killed instance may be somebody else's by now
        with contextlib.ExitStack() as sockets:
            try:
                if await _before(told, self._start(sockets)):
                    await _before(told, self._keep_logs_short())
            finally:
                await self._reloads.close()
                sockets.close()  # first: the kernel takes no connection that nobody will serve
                self._forget_addresses()
                for tier in reversed(self._tiers):
                    await self._end(tier)

    async def _start(self, sockets: contextlib.ExitStack) -> None:
        settings = self._settings
        recorder: list[Keeper] = []
        serving: list[Keeper] = []
        port = admin_port = 0
        if settings.record:
            recorder.append(self._kept(RECORDER, "comptroller.record"))
        if settings.workers:
            data = sockets.enter_context(_listen(settings.host, settings.port, "--port"))
            port = data.getsockname()[1]
            serving += [
                self._kept(f"gateway-{n}", "comptroller.work", data)
                for n in range(1, settings.workers + 1)
            ]
        if settings.admin:
            admin = sockets.enter_context(
                _listen(settings.admin_host, settings.admin_port, "--admin-port")
            )
            admin_port = admin.getsockname()[1]
            serving.append(self._kept("admin", "comptroller.administer", admin))
        orchestrator: list[Keeper] = []
        if settings.orchestrate:
            orchestrator.append(self._kept(ORCHESTRATOR, "comptroller.orchestrate"))
        if self._server is not None:
            await self._begin([Keeper(LedgerProcess(self._server, self._ledger_log))])
        # Only a recorder begins an organisation, or opens one that this run of the ledger does not
        # know yet: it starts with the others, and what the file says is declared meanwhile.
        translator = [self._translator]
        tiers = recorder, translator, serving, orchestrator
        await self._begin(*tiers, beside=self._declare_at_length())
        declared_file(self._data_dir).touch(mode=0o600)
        greeting = Greeting(settings, port, admin_port, self._first_key)
        if settings.workers:
            gateway_url_file(self._data_dir).write_text(greeting.base_url, encoding="ascii")
        if settings.admin:
            admin_url_file(self._data_dir).write_text(greeting.admin_url, encoding="ascii")
        sys.stdout.write(f"{greeting.text()}\n")
        sys.stdout.flush()
        self._note(self._reloads.configuration, "")
        self._reloads.ready.set()

    def _forget_addresses(self) -> None:
        folder = self._data_dir
        addresses = gateway_url_file(folder), admin_url_file(folder)
        for file in (*addresses, declared_file(folder), in_force_file(folder)):
            file.unlink(missing_ok=True)

    async def _begin(
        self, *tiers: Sequence[Kept], beside: Coroutine[Any, Any, None] | None = None
    ) -> None:
        """All at once. Where one fails, or the start is given up, none goes on with its own."""
        self._tiers += tiers
        starts = [asyncio.create_task(keeper.start()) for tier in tiers for keeper in tier]
        if beside is not None:
            starts.append(asyncio.create_task(beside))
        try:
            await asyncio.gather(*starts)
        finally:
            for each in starts:
                each.cancel()
            await asyncio.gather(*starts, return_exceptions=True)

    async def _end(self, tier: Sequence[Kept]) -> None:
        stops = (keeper.stop() for keeper in tier)
        for failure in await asyncio.gather(*stops, return_exceptions=True):
            if failure is not None:  # the others are stopped all the same
                _log.error("a part was not kept to its end", exc_info=failure)

    def _kept(self, name: str, module: str, listener: socket.socket | None = None) -> Keeper:
        configuration = self._reloads.configuration
        child = self._children[name] = self._child(name, module, configuration, listener)
        return self._keeper(child)

    def _child(
        self, name: str, module: str, told: Configuration, listener: socket.socket | None
    ) -> Child:
        listening = () if listener is None else (listener.fileno(),)
        log_path = self._logs / f"{name}.log"
        return Child(name, module, self._environment, log_path, listening, told, self._reloads)

    def _keeper(self, child: Child) -> Keeper:
        return Keeper(child, STOP_S_MAX + self._settings.gateway.drain_ms / 1000)

    def _translator_part(self, told: Configuration) -> tuple[Child, Keeper, socket.socket]:
        listener = listen_at(translator_socket(self._data_dir))
        child = self._child("translator", "comptroller.translate", told, listener)
        return child, self._keeper(child), listener

    def _hang_up(self, told: asyncio.Event) -> None:
        """At SIGHUP: the file is to be read again, unless the terminal is gone that it needs."""
        if self._needs_terminal and not has_terminal():
            told.set()
            return
        wanted = ReloadWanted(0, DECLARED_BY)
        reloading = asyncio.get_running_loop().create_task(self._reloads(wanted))
        self._reloading.add(reloading)
        reloading.add_done_callback(self._reloading.discard)

    def _note(self, told: Configuration, refused: str) -> None:
        """For `doctor`; no reason to stop what serves."""
        try:
            write_in_force(self._data_dir, told, refused)
        except OSError as error:
            _log.warning("what is served by is not noted: %s", error)

    async def _become(self, settings: Settings, told: Configuration, by: str) -> None:
        """What can fail comes first: the translator, the ledger. From then on whoever cannot follow
        is begun again, and begins with what the others have."""
        before, settings = self._reloads.configuration, self._of_here(settings)
        models = (*self._settings.models, *settings.models)  # who is just starting has the earlier
        write_looked_up(looked_up_file(self._data_dir), (each.source for each in models))
        if _needs_translator(settings):
            await self._translator.need(told)
        try:
            await self._declare_soon(settings, by)
        except Exception:
            self._translator.keep(before)
            if not _needs_translator(self._settings):
                self._translator.leave(lambda: self._released(before.version))
            raise
        self._settings = settings
        telling = []
        for name, child in self._children.items():
            if name in UNTOLD:  # nothing of what it reads can have changed
                child.begins_with(told)
            else:
                telling.append(child.tell(told))
        await asyncio.gather(*telling)
        if not _needs_translator(settings):
            self._translator.leave(lambda: self._released(told.version))

    async def _released(self, version: int) -> None:
        """When nothing on this machine goes on that had begun before this version."""
        serving = [each for name, each in self._children.items() if name not in UNTOLD]
        await asyncio.gather(*(each.released(version) for each in serving))

    async def _declare_soon(self, settings: Settings, by: str) -> None:
        """The same while everything runs. An organisation that is new, or comes back from the
        records, may take the recorder a moment."""
        session = open_session(settings, memory=records_memory(settings))
        give_up_s = asyncio.get_running_loop().time() + REMEMBERED_S_MAX
        try:
            while True:
                try:
                    return await declare(settings, session, by)
                except (LedgerRecovering, MemoryAway):
                    if asyncio.get_running_loop().time() > give_up_s:
                        raise
                await asyncio.sleep(0.1)  # the recorder's work has no event to wait for
        finally:
            await session.transport.close()

    async def _declare_at_length(self) -> None:
        """The same; what the file names may have left the ledger, and whoever remembers it is just
        starting."""
        give_up_s = asyncio.get_running_loop().time() + REMEMBERED_S_MAX
        while True:
            try:
                return await self._declare()
            except LedgerRecovering as error:  # however long that takes
                _log.warning("%s", error)
            except MemoryAway:
                if asyncio.get_running_loop().time() > give_up_s:
                    raise
            await asyncio.sleep(0.1)  # the recorder's port has no event to wait for

    async def _declare(self) -> None:
        """What the file says, or the first key, and the first admin token."""
        settings = self._settings
        session = open_session(settings, memory=records_memory(settings))
        try:
            if settings.workers and not settings.keys:
                self._first_key = await first_key(session, self._data_dir)
                settings = dataclasses.replace(settings, keys=self._first_key.declared)
            await declare(settings, session)
            if self._settings.admin:
                fresh = f"ca-{secrets.token_urlsafe(32)}"
                file = admin_token_file(self._data_dir)
                await ensure_first_token(session, self._token or kept_secret(file, fresh))
            await _until_open(session)
        finally:
            await session.transport.close()

    async def _keep_logs_short(self) -> None:
        while True:
            try:
                await asyncio.to_thread(shorten, self._logs)
            except OSError as error:  # a full disk: no reason to stop what serves
                _log.warning("the logs are not kept short: %s", error)
            await asyncio.sleep(SHORTEN_EVERY_S)


def _needs_translator(settings: Settings) -> bool:
    return settings.workers > 0 and any(is_translated(each.provider) for each in settings.models)


async def _until_open(session: Session) -> None:
    """So that who reads the greeting is served. An organisation that nobody recovers, or that is
    damaged, holds the others up for a moment only."""
    waits = [session.begin_organisation(each) for each in await session.all_organisations()]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OPENED_S_MAX):
            await asyncio.gather(*waits, return_exceptions=True)


async def _before(told: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work came to its end before the stop was asked for; what it raises is raised."""
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        working.result()
        return not told.is_set()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return False


def _listen(host: str, port: int, option: str) -> socket.socket:
    """A listening socket. Raises OSError, which names the option that chooses another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host}:{port} ({error.strerror}): choose with {option}"
        ) from None


def _log_to(path: Path) -> None:
    """This process's own log, and what matters of it on the terminal."""
    stream = io.TextIOWrapper(opened(path), encoding="utf-8", write_through=True)
    file = logging.StreamHandler(stream)
    file.setFormatter(JsonLines("up"))
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("comptroller: %(message)s"))
    terminal.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[file, terminal], force=True)
