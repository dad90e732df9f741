"""How the tests mint keys with keys, and a worker that is killed while it does."""

from collections.abc import Awaitable, Callable

import msgspec

from budgets.keys import Key, digest, new_key_id, new_secret
from budgets.minting import Minting
from budgets.plan import ScopePath
from budgets.policy import Dimension, Policy, parse_policy
from budgets.scripts import Script
from budgets.transport import Argument, LedgerSilent, LedgerTransport, Reply
from tests.budgets.harness import Desk
from tests.budgets.test_keys import Events, key_for, ring_of

ONE_CENT = parse_policy([{"usd": "0.01"}])
WRITES = ("SET", "DEL", "ZADD", "ZREM")
MANY = 1_000


class Acts(Events):
    """What a key does to others, as short bytes."""

    def allotted(self, key: Key, amounts: dict[Dimension, int]) -> bytes:
        """JSON, as all that tells of allotments."""
        return msgspec.json.encode({"key_id": key.id, **amounts})


def minting_of(desk: Desk) -> Minting:
    """What a worker mints with."""
    return Minting(desk.session, desk.administration, lambda _: Acts())


async def minter_of(desk: Desk) -> Key:
    """An operator's key that delegates."""
    key = key_for(desk, delegates=True, secret_sha256=digest(desk.organisation))
    await ring_of(desk).mint(key, desk.organisation, ONE_CENT)
    return key


def below(minter: Key, secret: str, **fields: object) -> Key:
    """A key as it is narrowed to its minter."""
    key = Key(
        *(new_key_id(), "helper", minter.key_scope, 1),
        secret_sha256=digest(secret),
        attempts=minter.attempts,
        minters=(*minter.minters, minter.id),
    )
    return msgspec.structs.replace(key, **fields)


async def minted(
    desk: Desk, minter: Key, keys_max: int = MANY, **fields: object
) -> tuple[Key, ScopePath]:
    """A new key of the minter's, and where its requests count."""
    secret = new_secret()
    key = below(minter, secret, **fields)
    await minting_of(desk).mint(minter, key, secret, Policy(), keys_max)
    found = await ring_of(desk).find(secret.encode())
    assert found is not None
    return found


class DiesAt(LedgerTransport):
    """The way to the ledger of a worker that is killed at one of its writes: just before it, or
    when it is done and not yet answered."""

    def __init__(self, inner: LedgerTransport, write: int, *, done: bool) -> None:
        self._inner = inner
        self._left = write
        self._done = done

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def _write(self, act: Callable[[], Awaitable[object]]) -> object:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._done):
            raise LedgerSilent("killed")
        answer = await act()
        if self._left == 0:
            raise LedgerSilent("killed")
        return answer

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """Reads."""
        return await self._inner.call(script, keys, args)

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """A script that writes."""
        answer = await self._write(lambda: self._inner.call_durably(script, keys, args))
        assert isinstance(answer, list)
        return answer

    async def command(self, *args: Argument) -> object:
        """A command, which may write."""
        if args[0] not in WRITES:
            return await self._inner.command(*args)
        return await self._write(lambda: self._inner.command(*args))

    async def command_durably(self, *args: Argument) -> object:
        """A command that writes."""
        return await self._write(lambda: self._inner.command_durably(*args))

    async def close(self) -> None:
        """The test's own."""
