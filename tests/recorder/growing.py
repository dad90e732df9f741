"""A ledger that forgets what is at rest, and workers that ask the records for it."""

from collections.abc import Awaitable, Callable, Sequence

from budgets.memory import MemoryAway, Remembered
from budgets.plan import ScopePath
from comptroller.remembering import RecordsMemory
from tests.budgets.harness import TimedDesk
from tests.recorder.test_compaction import REST_MS, Bench
from tests.recorder.workbench import StoreProcess

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


class Asked:
    """The records' memory, counted; `away` makes it fail, `then` runs after each answer."""

    def __init__(self, store: StoreProcess) -> None:
        self._memory = RecordsMemory(store.select)
        self.times = 0
        self.away = False
        self.then: list[Callable[[], Awaitable[None]]] = []

    async def remembered(
        self,
        organisation: str,
        through_seq: int,
        *,
        scopes: Sequence[str] = (),
        fields: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> Remembered | None:
        """See budgets.memory.Memory."""
        self.times += 1
        if self.away:
            raise MemoryAway("away")
        found = await self._memory.remembered(
            organisation, through_seq, scopes=scopes, fields=fields, keys=keys
        )
        while found is not None and self.then:
            await self.then.pop(0)()
        return found


class Growing(Bench):
    """A bench whose workers can ask the records."""

    def __init__(self, desk: TimedDesk, store: StoreProcess, memory: Asked) -> None:
        super().__init__(desk, store)
        self.memory = memory

    def scope(self, name: str) -> str:
        """Below the organisation."""
        return f"{self.organisation}/{name}"

    async def template(self, *limits: dict[str, object]) -> None:
        """What binds each child of the organisation."""
        await self.desk.set_budget(self.organisation, {"per_child": list(limits)})

    async def rest(self, by_ms: int = REST_MS) -> None:
        """Time passes, in which somebody else does something."""
        await self.desk.advance(by_ms)
        await self.desk.administration.append(
            self.organisation, self.desk.session.new_id(), "step_started", b"{}"
        )

    async def pass_by(self, by_ms: int = REST_MS) -> int:
        """Time passes, all is recorded, and the ledger forgets; how much."""
        await self.rest(1)
        await self.record()
        await self.compaction.snapshots.take(self.organisation, self.head)
        await self.rest(by_ms)
        await self.rest(1)
        await self.record()
        return await self.sweep()

    async def scopes(self) -> set[str]:
        """Those that the ledger has."""
        return {
            each.scope
            async for piece in self.recording.held(self.organisation, "s:")
            for each in piece.scopes
        }

    async def has(self, scope: str) -> bool:
        """Whether the ledger does."""
        return scope in await self.scopes()

    async def spent(self, scope: str) -> list[int]:
        """In each limit that binds it, as a worker that knows nothing finds it."""
        self.desk.ledger._policies.forget(ScopePath(scope).nodes())
        checked = await self.desk.ledger.check(ScopePath(scope))
        return [each.spent for each in checked.standings]
