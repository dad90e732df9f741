"""Who decides what goes wrong and when: everything is drawn from the episode's seed.

Each episode has some kinds of trouble and not others, so that rare ones are not drowned by common
ones; how often they strike is drawn, too.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from budgets.administration import ScopeClosed
from budgets.endingfile import files_in
from budgets.keys import Key, KeyChanged
from budgets.policy import ancestors, parse_policy
from budgets.transport import LedgerUnavailable
from tests.simulation.clients import Crowd, Manners
from tests.simulation.ledger_server import Copy
from tests.simulation.storms import Storms
from tests.simulation.workers import Admin, RecorderProcess, Worker
from tests.simulation.world import World

STEPS_TO_DEATH_MAX = 60
SCOPES = ("", "/team", "/team/a", "/lab", "/lab/run")
KEY_SCOPES = ("/team", "/team/a", "/team/b", "/lab/run", "")
WINDOWS = ("minute", "minute", "hour", "day", "week", "month", "total")
EDGES_S = (60, 60, 60, 3_600, 86_400)
LIMITS_AT_ONCE_MAX, RESTARTED_AT_ONCE = 3, 0.1


@dataclass(frozen=True, slots=True)
class Plot:
    """What an episode is about, where it is not left to the seed: accidents by the names of their
    methods (drawn as often as they are named), moods of the providers, and how often the ledger
    becomes an older one without a restart."""

    accidents: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    rolls_back: float = 0.1


class Director:
    """Runs an episode's processes, its crowd and its accidents."""

    def __init__(self, world: World, organisations: tuple[str, ...], plot: Plot) -> None:
        self.world = world
        self.rng = random.Random(world.rng.getrandbits(64))
        self.organisations = organisations
        self.workers: list[Worker] = []
        self.recorders: list[RecorderProcess] = []
        self.secrets: list[tuple[str, str]] = []
        self.keys: list[Key] = []
        self.over = False
        self._numbers = iter(range(1, 10**9))
        self.admin = Admin(world, next(self._numbers))
        rng = self.rng
        self.crowd = Crowd(
            world,
            self.workers,
            self.secrets,
            Manners(
                think_s=rng.choice((0.2, 0.6, 2.0)),
                hangs_up=rng.choice((0, 0.1, 0.4)),
                reads_slowly=rng.choice((0, 0.1, 0.4)),
                burst=rng.choice((0, 0.1, 0.5)),
            ),
        )
        self._storms = Storms(world, rng, plot.moods)
        accidents = self._accidents()
        self._accidents_here = [each for each in accidents if rng.random() < 0.5] or accidents
        if plot.accidents:
            named = {_name(each): each for each in accidents}
            self._accidents_here = [named[name] for name in plot.accidents]
        self._wealth = rng.choice((1, 8, 100))
        self._keeps_copies = rng.choice((0.0, 0.3))
        self._copy: Copy = {}
        self._between_s = rng.choice((0.3, 1.0, 3.0, 10.0))

    async def play(self, seconds: float) -> None:
        """The episode, from an empty ledger to its last accident."""
        world, rng = self.world, self.rng
        for node in ("a", "b")[: rng.randint(1, 2)]:
            self.recorders.append(RecorderProcess(world, node))
        for organisation in self.organisations:
            world.books.open_account(organisation)
            await self._as_admin(self._found, organisation)
        for _ in range(rng.randint(1, 3)):
            self.workers.append(Worker(world, next(self._numbers)))
        self._storms.change_moods()
        for _ in range(rng.randint(2, 7)):
            world.loop.spawn(world.loop.world, self.crowd.client(rng.getrandbits(64)))
        end_s = world.loop.time() + seconds
        while world.loop.time() < end_s:
            await asyncio.sleep(rng.expovariate(1 / self._between_s))
            accident = rng.choice(self._accidents_here)
            world.tally[f"fault:{_name(accident).replace('_', ' ')}"] += 1
            world.trace.note("director", accident.__name__)
            accident()
            self._stand_in()
            if rng.random() < self._keeps_copies:
                self._copy = world.server.copied()
        self.over = True

    def settle_down(self) -> None:
        """Nothing goes wrong any more, nobody asks, and what has died is started again."""
        self.crowd.busy = False
        self.world.weather.fine()
        self.world.network.latency_s = 0.003
        for process in self.world.loop.processes:
            process.dies_in = 0
            process.paused_until = 0.0
        self._stand_in(everybody=True)

    def rests(self) -> bool:
        """Whether nothing is open, waits or is on its way."""
        self._stand_in(everybody=True)  # who was asked to stop before may have ended since
        if self.crowd.in_flight:
            return False
        for organisation in self.organisations:
            account = self.world.books.accounts[organisation]
            recorded = len(self.world.store.seqs.get(organisation, ()))
            if account.open or account.is_shaken or account.confirmed != account.seq:
                return False
            if recorded != len(account.kinds):
                return False
        if files_in(self.world.endings_folder):  # the living have not found them yet
            return False
        return not any(each.waiting for each in self.workers if each.process.alive)

    def stop_everybody(self) -> list[Any]:
        """As SIGTERM to each; the processes that are to end."""
        loop = self.world.loop
        processes = [each.process for each in self.workers]
        processes += [each.process for each in self.recorders]
        for worker in self.workers:
            loop.spawn(worker.process, worker.stop())
        for chosen in self.recorders:
            loop.spawn(chosen.process, _stopped(chosen))
        return [each for each in processes if each.alive]

    # The cast.

    def _stand_in(self, *, everybody: bool = False) -> None:
        """What has died comes back, sooner or later."""
        rng, world = self.rng, self.world
        for number, worker in enumerate(self.workers):
            if not worker.process.alive and (everybody or rng.random() < 0.5):
                self.workers[number] = Worker(world, next(self._numbers))
        for number, recorder in enumerate(self.recorders):
            if not recorder.process.alive and (everybody or rng.random() < 0.4):
                self.recorders[number] = RecorderProcess(world, recorder.node)
        if not self.admin.process.alive:
            self.admin = Admin(world, next(self._numbers))

    async def _found(self, admin: Admin, organisation: str) -> None:
        """An organisation with budgets and keys."""
        await admin.session.open_organisation(organisation, create=True)
        if self.rng.random() < RESTARTED_AT_ONCE:  # before anything is recorded
            self._restart_the_ledger()
        for scope in SCOPES:
            if not scope or self.rng.random() < 0.5:
                policy = parse_policy(self._budget())
                await admin.administration.set_policy(organisation + scope, policy, b"{}")
        for _ in range(self.rng.randint(1, 4)):
            await self._mint(admin, organisation)

    def _budget(self) -> dict[str, Any]:
        rng = self.rng
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for _ in range(rng.randint(1, LIMITS_AT_ONCE_MAX)):
            limit = self._limit()
            found[next(iter(limit)), limit.get("window", "")] = limit
        budget: dict[str, Any] = {"limits": list(found.values())}
        if rng.random() < 0.3:
            budget["per_child"] = [self._limit()]
        if rng.random() < 0.2:
            budget["on_exceed"] = "refuse"
        if rng.random() < 0.2:
            budget["payloads"] = rng.choice(("full", "redacted", "hash", "off"))
        return budget

    def _limit(self) -> dict[str, Any]:
        rng = self.rng
        dimension = rng.choice(("usd", "usd", "tokens", "requests", "concurrency"))
        if dimension == "concurrency":
            return {"concurrency": rng.randint(1, 8)}
        micro_usd = (rng.choice((1_000, 5_000, 30_000)) + rng.randint(0, 999)) * self._wealth
        amount: Any = {
            "usd": f"{micro_usd // 10**6}.{micro_usd % 10**6:06}",
            "tokens": rng.choice((500, 3_000, 40_000)) * self._wealth,
            "requests": rng.choice((5, 30, 400)) * self._wealth,
        }[dimension]
        limit = {dimension: amount, "window": rng.choice(WINDOWS)}
        if rng.random() < 0.15:
            limit["models"] = [rng.choice(("plain", "d*", "?h*"))]
        return limit

    async def _mint(self, admin: Admin, organisation: str) -> None:
        rng = self.rng
        name = f"key-{next(self._numbers)}"
        scope = organisation + rng.choice(KEY_SCOPES)
        key = Key(id=name, name=name, scope=scope, created_at_ms=1)
        secret = f"ck-{rng.getrandbits(128):032x}"
        budget = parse_policy(self._budget() if rng.random() < 0.4 else [])
        await admin.keyring.mint(key, secret, budget)
        self.keys.append(key)
        self.secrets.append((organisation, secret))

    async def _as_admin(self, act: Callable[..., Any], *args: Any) -> None:
        """One act; it may fail, and be cut off by the death of its process."""
        admin, done = self.admin, asyncio.Event()

        async def acting() -> None:
            try:
                await act(admin, *args)
            except (LedgerUnavailable, ScopeClosed, KeyChanged) as error:
                self.world.trace.note("admin", "%s", type(error).__name__)
            finally:
                done.set()

        self.world.loop.spawn(admin.process, acting())
        admin.process.on_death.append(done.set)
        await done.wait()

    def _act(self, act: Callable[..., Any], *args: Any) -> None:
        self.world.loop.spawn(self.world.loop.world, self._as_admin(act, *args))

    # What goes wrong.

    def _accidents(self) -> list[Callable[[], None]]:
        return [
            *(self._kill_a_worker, self._kill_a_worker, self._kill_a_recorder),
            *(self._kill_the_admin, self._stop_a_worker, self._stop_a_recorder),
            *(self._pause_a_process, self._pause_a_process, self._break_connections),
            *(self._pause_the_ledger, self._storms.lose_replies, self._storms.lose_requests),
            *(self._restart_the_ledger, self._empty_the_ledger, self._put_the_ledger_back),
            *(
                self._storms.ledger_away,
                self._storms.slow_network,
                self._storms.clear_up,
                self._storms.clear_up,
            ),
            *(self._jump_to_an_edge, self._jump_far, self._sleep_past_a_lease),
            *(
                self._storms.store_away,
                self._storms.store_refuses,
                self._storms.store_loses_answers,
            ),
            *(
                self._storms.store_is_late,
                self._storms.store_swallows,
                self._storms.store_is_behind,
            ),
            *(self._storms.providers_away, self._storms.change_moods, self._storms.change_moods),
            *(self._set_a_budget, self._set_a_budget, self._freeze, self._thaw, self._thaw),
            *(self._revoke_a_key, self._rotate_a_key, self._mint_a_key, self._add_a_worker),
        ]

    def _kill_a_worker(self) -> None:
        self._doom([each.process for each in self.workers])

    def _kill_a_recorder(self) -> None:
        self._doom([each.process for each in self.recorders])

    def _kill_the_admin(self) -> None:
        self._doom([self.admin.process])

    def _doom(self, processes: list[Any]) -> None:
        """It dies after some more of its callbacks: each await is as likely as the next."""
        alive = [each for each in processes if each.alive]
        if alive:
            self.rng.choice(alive).dies_in = self.rng.randint(1, STEPS_TO_DEATH_MAX)

    def _add_a_worker(self) -> None:
        if len(self.workers) < 4:
            self.workers.append(Worker(self.world, next(self._numbers)))

    def _stop_a_worker(self) -> None:
        worker = self.rng.choice(self.workers)
        if worker.ready and worker.process.alive:
            self.world.loop.spawn(worker.process, worker.stop())

    def _stop_a_recorder(self) -> None:
        chosen = self.rng.choice(self.recorders)
        if chosen.process.alive and chosen.recorder is not None:
            self.world.loop.spawn(chosen.process, _stopped(chosen))

    def _pause_a_process(self) -> None:
        process = self.rng.choice(self.world.loop.processes[1:])
        seconds = self.rng.random() * self.rng.choice((0.5, 5, 15))
        process.paused_until = self.world.loop.time() + seconds

    def _pause_the_ledger(self) -> None:
        seconds = self.rng.random() * self.rng.choice((0.5, 3, 9))
        self.world.weather.ledger_paused_until = self.world.loop.time() + seconds

    def _restart_the_ledger(self) -> None:
        self.world.server.restart()
        self._shaken(may_lose=False)

    def _empty_the_ledger(self) -> None:
        self._lose({})

    def _put_the_ledger_back(self) -> None:
        """To a copy of some steps ago, or of now."""
        self._lose(self._copy or self.world.server.copied())

    def _lose(self, copy: Copy) -> None:
        """Only where one recorder has all that was ever taken off the ledger: what another one
        keeps on its disk, or is about to write, is not asked for by a recovery."""
        store = self.world.store
        knows_all = all(store.seqs.get(each) for each in self.organisations)
        if len(self.recorders) == 1 and knows_all and not store.late:
            self.world.server.restart(copy)
            self._shaken(may_lose=True)
        else:
            self._restart_the_ledger()

    def _shaken(self, *, may_lose: bool) -> None:
        for account in self.world.books.accounts.values():
            self.world.books.shake(account, may_lose=may_lose)

    def _break_connections(self) -> None:
        self.world.server.break_all()

    def _jump_to_an_edge(self) -> None:
        """To just before a minute, hour or day ends, so that requests run across it."""
        length_s = self.rng.choice(EDGES_S)
        left_s = length_s - self.world.server.now_ms() / 1000 % length_s
        self.world.loop.jump(max(0.0, left_s - self.rng.random() * 2))

    def _jump_far(self) -> None:
        self.world.loop.jump(self.rng.choice((61, 3_601, 86_401)))

    def _sleep_past_a_lease(self) -> None:
        self.world.loop.jump(self.rng.random() * 20)

    # What people do.

    def _scope(self) -> str:
        organisation, rng = self.rng.choice(self.organisations), self.rng
        open_now = self.world.books.accounts[organisation].open
        if open_now and rng.random() < 0.4:  # in the middle of somebody's stream
            return rng.choice(ancestors(open_now[rng.choice(sorted(open_now))].scope))
        if self.keys and rng.random() < 0.2:
            return rng.choice(self.keys).key_scope
        return organisation + rng.choice(SCOPES)

    def _set_a_budget(self) -> None:
        policy = parse_policy(self._budget())
        scope = self._scope()

        async def set_it(admin: Admin) -> None:
            await admin.administration.set_policy(scope, policy, b"{}")

        self._act(set_it)

    def _freeze(self) -> None:
        self._set_state("freeze")

    def _thaw(self) -> None:
        self._set_state("thaw")

    def _set_state(self, action: str) -> None:
        scope = self._scope()

        async def set_it(admin: Admin) -> None:
            await admin.administration.set_state(scope, action, "budget_changed", b"{}")

        self._act(set_it)

    def _revoke_a_key(self) -> None:
        if self.keys:
            key = self.rng.choice(self.keys)
            self._act(lambda admin: admin.keyring.revoke(key))

    def _rotate_a_key(self) -> None:
        """Its secrets end at once, or a little later."""
        if self.keys:
            place = self.rng.randrange(len(self.keys))
            self._act(self._rotate, place, self.rng.choice((0, 60_000)))

    async def _rotate(self, admin: Admin, place: int, overlap_ms: int) -> None:
        secret = f"ck-{self.rng.getrandbits(128):032x}"
        key = self.keys[place] = await admin.keyring.rotate(self.keys[place], secret, overlap_ms)
        self.secrets.append((key.organisation, secret))

    def _mint_a_key(self) -> None:
        organisation = self.rng.choice(self.organisations)
        self._act(self._mint, organisation)


async def _stopped(chosen: RecorderProcess) -> None:
    assert chosen.recorder is not None
    chosen.recorder.stop()


def _name(accident: Callable[[], None]) -> str:
    return accident.__name__.strip("_")
