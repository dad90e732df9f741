"""The processes that run the product's own code: gateway workers, recorders, the administration."""

import asyncio
import dataclasses
import ssl
from contextvars import copy_context
from pathlib import Path
from typing import Any

from budgets.administration import Administration
from budgets.answers import Reservation
from budgets.endingdisk import EndingsOptions, Waiting
from budgets.endingfile import EndingFile
from budgets.endings import Endings
from budgets.keys import KeyRing
from budgets.learning import Learning
from budgets.leases import LeaseKeeper
from budgets.ledger import Ledger, LedgerOptions
from budgets.minting import Minting
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.session import Session, SessionOptions
from comptroller.remembering import RecordsMemory
from gateway.app import Gateway
from gateway.cooldowns import Cooldowns
from gateway.events import KeyEvents, acts_of, without_body
from gateway.hard_stops import HardStops
from gateway.options import GatewayOptions
from gateway.parts import InForce, Parts
from gateway.refusal_log import RefusalLog, refusal_log
from gateway.route_events import RouteEvents
from gateway.routes import Route, Routes
from gateway.routing_rules import NO_RULES
from gateway.upstream import Origin, PooledUpstream, Timeouts
from gateway.waiting import WaitingLines
from recorder.options import RecorderOptions
from recorder.recorder import Recorder
from tests.gateway.fake_routes import DEAR_OUTPUT_NUSD, OUTPUT_NUSD, fake_route
from tests.simulation.clockwork import PROCESS, Process
from tests.simulation.world import CALL, KINDS, LEASE_MS, LEDGER, World, seeded

LOOKS = SessionOptions()
NEVER_WAITS = SessionOptions(reopen_ms=0)

SKEWS_MS = (0, 0, 0, 700, -400, 45_000, -30_000)
TIMEOUTS = Timeouts(connect_ms=1_000, first_byte_ms=9_000, idle_ms=3_000)
LEARNED_KINDS = ("dear", "biller")
CALIBRATED_KINDS = ("biller",)
CALIBRATED_AFTER = 4
GATEWAY = GatewayOptions(output_tokens_least=8, output_tokens_default=400, drain_ms=4_000)
LEDGER_OPTIONS = LedgerOptions(lease_ms=LEASE_MS, outbox_events_max=400, bodies_bytes_max=60_000)
RECORDER = RecorderOptions(
    batch_events_max=7,
    batch_bytes_max=8_000,
    linger_ms=200,
    patience_ms=1_500,
    retry_ms=300,
    drain_every_ms=800,
    owner_lease_ms=5_000,
    head_every_ms=20_000,
    spool_bytes_max=60_000,
    compact_every_ms=15_000,
    snapshot_every_ms=6_000,
    lease_ms=LEASE_MS,
)


def session_of(world: World, clock: Any, options: SessionOptions = LOOKS) -> Session:
    """A connection of this process to the ledger."""
    transport = PipelinedTransport(NodeAddress(unix_path=LEDGER))
    memory = RecordsMemory(world.store.select)
    session = Session(transport, world.scripts, clock, options, memory)
    seeded(world, session)
    session.new_id = world.tracked(session.new_id)  # type: ignore[method-assign]
    return session


class Worker:
    """One gateway worker. `ready` while it takes requests."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.process = world.loop.process(f"worker-{number}")
        self.ready = False
        self.endings: Endings | None = None
        self._refusals: RefusalLog | None = None
        self._app: Gateway
        self._requests: list[asyncio.Task[Any]] = []
        self._files: list[EndingFile] = []
        self._stopping = asyncio.Event()
        world.loop.spawn(self.process, self._live(world.rng.choice(SKEWS_MS)))
        self.process.on_death.append(self._died)

    async def _live(self, skew_ms: int) -> None:
        world = self.world
        session = session_of(world, world.clock(skew_ms))
        upstream = PooledUpstream(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        administration = Administration(session)
        events, concurrency = RouteEvents("simulation"), GATEWAY.probation_concurrency
        learning = Learning(session, administration, events, concurrency, CALIBRATED_AFTER)
        ledger = Ledger(session, LEDGER_OPTIONS, learning.load)
        _notes_answers(world, self.process, ledger)

        async def close() -> None:
            await upstream.close()
            await session.transport.close()

        parts = Parts(
            clock=session.clock,
            ledger=ledger,
            endings=Endings(ledger, endings_options(world), without_body),
            keeper=LeaseKeeper(ledger, session.clock),
            keyring=KeyRing(session, administration, KeyEvents("simulation")),
            in_force=InForce(Routes([_route(kind, upstream) for kind in KINDS]), GATEWAY),
            cooldowns=Cooldowns(NO_RULES, session.clock, session.transport),
            learning=learning,
            minting=Minting(session, administration, acts_of),
            lines=WaitingLines(GATEWAY.wait_ms),
            refusals=refusal_log(session, ledger.options),
            hard_stops=HardStops(session.transport, session.clock),
        )
        self.endings, self._refusals = parts.endings, parts.refusals
        _notes_files(self.endings, self._files)
        self._app = Gateway(parts, close)
        begun = False

        async def receive() -> dict[str, Any]:
            nonlocal begun
            if begun:
                await self._stopping.wait()
                return {"type": "lifespan.shutdown"}
            begun = True
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            self.ready = message["type"] == "lifespan.startup.complete"

        await self._app({"type": "lifespan"}, receive, send)
        world.tally["rare:worker drained"] += 1
        world.loop.kill(self.process)

    def serve(self, scope: Any, receive: Any, send: Any, call: int) -> asyncio.Task[Any]:
        """One request, in this process."""
        context = copy_context()
        context.run(PROCESS.set, self.process)
        context.run(CALL.set, call)
        task = self.world.loop.create_task(self._app(scope, receive, send), context=context)
        self._requests = [each for each in self._requests if not each.done()] + [task]
        return task

    @property
    def waiting(self) -> int:
        """What the ledger has not taken: endings and refusals; 1 before it has begun."""
        if self.endings is None or self._refusals is None:
            return 1
        return self.endings.waiting + self._refusals.waiting

    async def stop(self) -> None:
        """As SIGTERM to uvicorn: no new requests, those in flight may end, what is left is
        cancelled, then the application shuts down."""
        self.ready = False
        left = [each for each in self._requests if not each.done()]
        if left:
            _, pending = await asyncio.wait(left, timeout=GATEWAY.drain_ms / 1000)
            for task in left:
                if task in pending and self.process.alive:
                    task.cancel()
        self._stopping.set()

    def _died(self) -> None:
        """The kernel lets go of the locks; what is on the disk is others' to take up."""
        self.ready = False
        for file in self._files:
            file.close()
        if self.endings is None:
            return
        queued = [each for queue in self.endings._waiting.values() for each in queue]
        for each in (*queued, *self.endings._under_way.values()):
            if isinstance(each, Waiting) and each.file is not None:
                self.world.left_on_disk[each.ending.id] = self.process.name
                self.world.tally["rare:died with an ending on the disk"] += 1


def endings_options(world: World) -> EndingsOptions:
    """All workers are on one machine, with a disk that is almost too small for what they answer."""
    return EndingsOptions(
        endings_bytes_max=60_000,
        endings_body_bytes_max=400,
        folder=world.endings_folder,
    )


def _route(kind: str, upstream: PooledUpstream) -> Route:
    """Nothing is learned of half of them, whose budgets inventions of providers do not exhaust."""
    route = fake_route(
        kind,
        Origin("http", f"{kind}.test", 80),
        upstream,
        output_nusd=DEAR_OUTPUT_NUSD if kind == "dear" else OUTPUT_NUSD,
        timeouts=TIMEOUTS,
        reasons_unseen=kind == "thinker",
        bills_after_cancel=kind == "biller",
    )
    return dataclasses.replace(
        route,
        learned_as=kind if kind in LEARNED_KINDS else "",
        calibrated=kind in CALIBRATED_KINDS,
    )


def _notes_answers(world: World, process: Process, ledger: Ledger) -> None:
    """What is granted to a process is remembered apart from what it remembers itself."""
    reserve = ledger.reserve

    async def noted(*args: Any) -> Any:
        answer = await reserve(*args)
        if isinstance(answer, Reservation):
            world.answered[answer.id] = process
        return answer

    ledger.reserve = noted  # type: ignore[method-assign, assignment]


def _notes_files(endings: Endings, files: list[EndingFile]) -> None:
    """What the thread opens is the process's at once, and not only when its loop hears of it."""
    disk = endings._disk
    assert disk is not None
    in_thread = disk._in_thread

    def noted(work: Any, *args: Any) -> Any:
        def do(*args: Any) -> Any:
            found = work(*args)
            several = found if isinstance(found, tuple) else (found,)
            files.extend(each for each in several if isinstance(each, EndingFile))
            return found

        return in_thread(do, *args)

    disk._in_thread = noted  # type: ignore[method-assign]


class RecorderProcess:
    """One recorder on a disk of its own, which outlives it."""

    def __init__(self, world: World, node: str) -> None:
        self.world = world
        self.node = node
        self.folder = _disk(world, node)
        self.process = world.loop.process(f"recorder-{node}")
        self.recorder: Recorder | None = None
        world.loop.spawn(self.process, self._live())
        self.process.on_death.append(self._died)

    async def _live(self) -> None:
        world = self.world
        session = session_of(world, world.clock(), NEVER_WAITS)
        recorder = self.recorder = Recorder(session, world.store, self.folder, RECORDER)
        recorder._spool._disk_free_bytes_min = 0
        await recorder.run()
        await session.transport.close()
        world.tally["rare:recorder stopped in order"] += 1
        world.loop.kill(self.process)

    def _died(self) -> None:
        """The kernel lets go of the lock."""
        if self.recorder is not None:
            self.recorder._lock.close()


def _disk(world: World, node: str) -> Path:
    """The folder of a recorder: its name and signing key are made beforehand, once."""
    folder = world.folder / node
    if not folder.exists():
        folder.mkdir(mode=0o700)
        (folder / "node").write_text(node)
        key = folder / "signing-key"
        key.write_bytes((world.folder / "signing-key").read_bytes())
        key.chmod(0o600)
    world.nodes[node] = folder
    return folder


class Admin:
    """Whoever makes keys and changes budgets; its process may be killed in the middle, too."""

    def __init__(self, world: World, number: int) -> None:
        self.process = world.loop.process(f"admin-{number}")
        self.session = session_of(world, world.clock())
        self.administration = Administration(self.session)
        self.keyring = KeyRing(self.session, self.administration, KeyEvents("simulation"))
