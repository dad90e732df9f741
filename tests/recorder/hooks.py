"""Ways in which what is around a recorder fails: a hook around every call to its records and to its
ledger lets it happen, keeps it from happening, hides its answer, or holds it up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from budgets.scripts import Script
from budgets.transport import Argument, LedgerTransport, Reply
from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.query import load_query
from clickhouse.store import ROWS, Store

_OURS = {load_query(name): name for name in ("batch_count", "batch_bodies", "last_event")}


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a test may let happen, keep from happening, or hide the answer of. Its name is
    `insert events`, `select batch_count`, `fix`, `xrange outbox`; `token` is an insert's."""

    name: str
    happen: Callable[[], Awaitable[Any]]
    token: str = ""


Hook = Callable[[Call], Awaitable[Any]]


async def happens(call: Call) -> Any:
    """No fault."""
    return await call.happen()


class HookedStore:
    """Store, with a hook around every call."""

    def __init__(self, store: Store, hook: Hook = happens) -> None:
        self.store = store
        self.hook = hook

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store; but of organisations it remembers none, which other tests have left there."""
        if query == load_query("organisations"):
            return b""
        name = f"select {_OURS.get(query, 'other')}"
        answer = await self.hook(Call(name, lambda: self.store.select(query, parameters)))
        assert isinstance(answer, bytes)
        return answer

    async def insert(
        self, statement: str, rows: bytes, token: str, format_name: str = ROWS
    ) -> None:
        """As Store."""
        table = statement.split()[2].removeprefix("comptroller.")
        happen = lambda: self.store.insert(statement, rows, token, format_name)  # noqa: E731
        await self.hook(Call(f"insert {table}", happen, token))

    async def command(self, statement: str) -> None:
        """As Store."""
        await self.hook(Call("command", lambda: self.store.command(statement)))

    async def close(self) -> None:
        """As Store."""
        await self.store.close()


class HookedTransport:
    """LedgerTransport, with a hook around every call."""

    def __init__(self, transport: LedgerTransport, hook: Hook = happens) -> None:
        self.transport = transport
        self.hook = hook

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self.transport.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """As LedgerTransport."""
        happen = lambda: self.transport.call(script, keys, args)  # noqa: E731
        reply = await self.hook(Call(script.name, happen))
        assert isinstance(reply, list)
        return reply

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """As LedgerTransport."""
        return await self.transport.call_durably(script, keys, args)

    async def command(self, *args: Argument) -> object:
        """As LedgerTransport."""
        words = [each.decode() if isinstance(each, bytes) else each for each in args[:2]]
        name = " ".join([words[0].lower(), *(each.rpartition(":")[2] for each in words[1:])])
        return await self.hook(Call(name, lambda: self.transport.command(*args)))

    async def command_durably(self, *args: Argument) -> object:
        """As LedgerTransport."""
        return await self.transport.command_durably(*args)

    async def close(self) -> None:
        """As LedgerTransport."""
        await self.transport.close()


class Away:
    """Records that are away, each call as `how` says, until they are `back`."""

    def __init__(self, how: Hook) -> None:
        self.hook = how
        self.written: list[str] = []

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        answer = await self.hook(call)
        if call.name == "insert events":
            self.written.append(call.token)
        return answer

    def back(self) -> None:
        """From now on all is well."""
        self.hook = happens

    def in_order(self) -> bool:
        """Whether batches were written in the order of the log."""
        firsts = [int(token.split("#")[0].split("-")[-2]) for token in self.written]
        return firsts == sorted(firsts)


async def unreachable(call: Call) -> Any:
    """As a refused connection."""
    raise StoreUnavailable("nobody listens")


async def failing(call: Call) -> Any:
    """As a server without memory."""
    raise StoreRefused(241, "memory limit exceeded")


class TooLate:
    """As a server that hangs: writes happen after the recorder has given them up."""

    def __init__(self) -> None:
        self.late: list[asyncio.Future[None]] = []

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        if call.name.startswith("insert "):
            self.late.append(asyncio.ensure_future(self._happen(call)))
        raise StoreUnavailable("timed out")

    async def _happen(self, call: Call) -> None:
        await asyncio.sleep(0.05)
        await call.happen()


class Lost:
    """The next `times` writes to a table happen, and their answers are lost."""

    def __init__(self, table: str, times: int) -> None:
        self.name = f"insert {table}"
        self.times = times

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        answer = await call.happen()
        if call.name == self.name and self.times:
            self.times -= 1
            raise StoreUnavailable("the answer was lost")
        return answer


class Swallowing:
    """An engine that crashed: of the first write to these tables it knows the token, and has not
    the rows; so it drops what is written under that token again."""

    def __init__(self, *tables: str) -> None:
        self._names = {f"insert {each}" for each in tables}
        self._tokens: set[str] = set()
        self.swallowed = 0

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        if call.token in self._tokens:
            self.swallowed += 1
            return None
        if call.name in self._names:
            self._names.remove(call.name)
            self._tokens.add(call.token)
            raise StoreUnavailable("the engine died")
        return await call.happen()


class Gate:
    """Stops a recorder at the `nth` call of a name, before it happens or after, until it is opened.
    `inserted` are the tokens that it wrote since."""

    def __init__(self, name: str, nth: int = 1, *, after: bool = False) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.inserted: list[str] = []
        self._name = name
        self._left = nth
        self._after = after

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        stop = False
        if call.name == self._name:
            self._left -= 1
            stop = self._left == 0
        if stop and not self._after:
            await self.wait()
        if self.reached.is_set() and call.name == "insert events":
            self.inserted.append(call.token)
        answer = await call.happen()
        if stop and self._after:
            await self.wait()
        return answer

    async def wait(self) -> None:
        """As one that is held up here."""
        self.reached.set()
        await self.opened.wait()


class Behind:
    """A replica that is asked for a batch once before it has what was just written to another."""

    def __init__(self) -> None:
        self._behind = False
        self._written: set[str] = set()

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        answer = await call.happen()
        if call.name == "insert events" and call.token.split("#")[0] not in self._written:
            self._written.add(call.token)
            self._behind = True
        elif call.name == "select batch_count" and self._behind:
            self._behind = False
            return b"[0]\n"
        return answer
