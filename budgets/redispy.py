"""The other transport: redis-py's connections, for what the fast one does not speak: TLS, Cluster,
Sentinel.

A call is tried until its deadline, as on the fast transport: on another connection, on the server
that another one names, on the primary that comes after a failover. Sending it again is safe because
every script is idempotent by id. What was cut and never answered is reported as silent.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    DataError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from budgets.pipelined import TransportLimits
from budgets.redisnode import Attempt, Dial, Line, Node
from budgets.redisroutes import NoServer, routes_of
from budgets.redisurl import RedisUrl, parse_redis_url
from budgets.scripts import Script
from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerSilent,
    LedgerUnavailable,
    Reply,
    ServerChanged,
)

REDIRECTED_AT_ONCE_MAX = 4
TOUCH_MS = 1_000
SLACK_MS = 500  # WAITAOF ends by its own timeout first
# Commands without a key: any server that has data may answer.
KEYLESS = frozenset({"PING", "TIME", "INFO", "CONFIG", "SCRIPT", "KEYS", "ROLE", "WAITAOF"})
_UNCONFIRMED = "the ledger's disk did not confirm the change: make it again"
_CLOSED = "the ledger connection is closed: the process is stopping"
_CUT = "the ledger connection closed before the answer came"

Work = Callable[[Line], Awaitable[object]]


class Server:
    """One server, for questions about itself."""

    def __init__(self, transport: "RedisPyTransport", node: Node) -> None:
        self.name = f"{node.address[0]}:{node.address[1]}"
        self._transport = transport
        self._node = node

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        return await self._transport.command_at(self._node, *args)


class RedisPyTransport:
    """LedgerTransport for a URL of any form."""

    def __init__(self, url: RedisUrl | str, *, limits: TransportLimits | None = None) -> None:
        self._url = parse_redis_url(url) if isinstance(url, str) else url
        self._limits = limits or TransportLimits()
        self._dial = Dial(self._url)
        self._routes = routes_of(self._url, self._dial)
        self._waiting = 0
        self._closed = False

    @property
    def generation(self) -> int:
        """See LedgerTransport."""
        return self._dial.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        reply = await self._decided(keys[0], self._same(_run(script, keys, args)))
        assert isinstance(reply, list)
        return reply

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        work = self._durably(keys[0], self._same(_run(script, keys, args)))
        reply = await self._decided(keys[0], work, durable=True)
        assert isinstance(reply, list)
        return reply

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        return await self._decided(_key_of(args), _plain(args))

    async def command_durably(self, *args: Argument) -> object:
        """See LedgerTransport."""
        key = _key_of(args)
        assert key is not None
        return await self._decided(key, self._durably(key, _plain(args)), durable=True)

    async def command_at(self, node: Node, *args: Argument) -> object:
        """One command at this very server. Raises as LedgerTransport."""
        return await self._decided(None, _plain(args), at=node)

    async def servers(self) -> list[Server]:
        """Every server that data is written to, to be asked one by one. Raises as
        LedgerTransport."""
        nodes: list[Node] = []

        async def found(_line: Line) -> object:
            nodes.extend(await self._routes.primaries())
            return None

        await self._decided(None, found)
        return [Server(self, node) for node in nodes]

    async def close(self) -> None:
        """See LedgerTransport."""
        self._closed = True
        await self._routes.close()

    def _same(self, work: Work) -> Work:
        """The work of a script, while no other server was met than when it was begun."""
        generation = self._dial.generation

        async def checked(line: Line) -> object:
            if self._dial.generation != generation:
                raise ServerChanged("the ledger is on another server than before, or was restarted")
            return await work(line)

        return checked

    def _durably(self, key: bytes, work: Work) -> Work:
        """The same, answered when the disk has it. A call that is repeated may write nothing, and
        WAITAOF speaks of what its own connection wrote: so something is written in any case, after
        whatever the call or an earlier try of it wrote."""

        async def confirmed(line: Line) -> object:
            reply = await work(line)
            line.give(self._limits.durable_timeout_ms + SLACK_MS)
            try:
                await line.ask(b"SET", _beside(key), b"1", b"PX", b"%d" % TOUCH_MS)
                timeout = b"%d" % self._limits.durable_timeout_ms
                synced = await line.ask(b"WAITAOF", b"1", b"%d" % self._url.replicas, timeout)
            except (RedisError, OSError) as error:
                raise LedgerSilent(f"{_UNCONFIRMED} ({error})") from error
            assert isinstance(synced, list)
            if synced[0] < 1 or synced[1] < self._url.replicas:
                raise LedgerSilent(_UNCONFIRMED)
            return reply

        return confirmed

    async def _decided(
        self, key: bytes | None, work: Work, *, durable: bool = False, at: Node | None = None
    ) -> object:
        """Tries until there is an answer, or the time is up. Raises as LedgerTransport."""
        if self._closed:
            raise LedgerUnavailable(_CLOSED)
        most = self._limits.calls_waiting_max
        if self._waiting >= most:
            raise LedgerUnavailable(f"{most} ledger calls wait already: is Redis slow?")
        self._waiting += 1
        deadline = asyncio.timeout(self._limits.call_timeout_ms / 1000)
        tries = _Tries(key, at, deadline)
        try:
            async with deadline:
                while True:
                    if await self._tried(tries, work, durable=durable):
                        return tries.reply
                    if self._closed:
                        raise LedgerSilent(_CUT) if tries.silent else LedgerUnavailable(_CLOSED)
                    if tries.pauses:
                        await asyncio.sleep(self._limits.reconnect_delay_ms / 1000)
        except TimeoutError:
            if tries.node is not None:  # a server that is silent may be one that was replaced
                await self._routes.doubt(tries.node)
            raise tries.unanswered() from None
        finally:
            self._waiting -= 1

    async def _tried(self, tries: "_Tries", work: Work, *, durable: bool) -> bool:
        """One try: whether it was answered. Raises what another try would not change."""
        attempt = tries.begun()
        try:
            node = tries.next or await self._routes.node(tries.key)
            tries.node, tries.next = node, tries.at
            async with (node.durable_line if durable else node.line)(attempt) as line:
                tries.reply = await work(line)
        except AskError as error:  # MOVED is one, too
            attempt.sent = False
            self._redirected(tries, error)
        except (TryAgainError, ClusterDownError, ReadOnlyError, BusyLoadingError) as error:
            attempt.sent = False  # it says itself that it did nothing
            tries.refused(error)
            await self._doubted(tries, error)
        except (AuthenticationError, ResponseError, DataError) as error:
            attempt.sent = False
            raise tries.rejected(error) from error
        except (RedisError, OSError, NoServer) as error:
            if _certificate_is_wrong(error):
                raise LedgerUnavailable(f"the ledger's server is not trusted: {error}") from error
            tries.refused(error)
            await self._doubted(tries, error)
        else:
            return True
        return False

    def _redirected(self, tries: "_Tries", error: AskError) -> None:
        if self._url.kind != "cluster" or tries.key is None:
            raise tries.rejected(error, "it is a cluster: name it as redis+cluster://") from error
        # No name: the server does not know by which one it was reached.
        host = error.host or (tries.node.address[0] if tries.node else "")
        if isinstance(error, MovedError):
            tries.redirected(self._routes.moved(tries.key, (host, error.port)), asking=False)
        else:
            tries.redirected(self._routes.at((host, error.port)), asking=True)

    async def _doubted(self, tries: "_Tries", error: Exception) -> None:
        if tries.node is not None and not isinstance(error, TryAgainError | BusyLoadingError):
            await self._routes.doubt(tries.node)


class _Tries:
    """What the tries of one call have shown so far."""

    __slots__ = (
        "_attempt",
        "_deadline",
        "_error",
        "_redirects",
        "_silent",
        "at",
        "key",
        "next",
        "node",
        "reply",
    )

    def __init__(self, key: bytes | None, at: Node | None, deadline: asyncio.Timeout) -> None:
        self.key = key
        self.at = at
        self.next = at
        self.node: Node | None = None
        self.reply: object = None
        self._deadline = deadline
        self._attempt = Attempt(deadline)
        self._error: Exception | None = None
        self._redirects = 0
        self._silent = False

    def begun(self) -> Attempt:
        """The next one."""
        self._silent = self.silent
        self._attempt = Attempt(self._deadline, asking=self._attempt.asking)
        return self._attempt

    @property
    def silent(self) -> bool:
        """Whether a server may have done it, for all that is known."""
        return self._silent or self._attempt.sent

    @property
    def pauses(self) -> bool:
        """Whether the next try waits a little: always, but for the first redirections."""
        return self._redirects == 0 or self._redirects > REDIRECTED_AT_ONCE_MAX

    def redirected(self, node: Node | None, *, asking: bool) -> None:
        """To another server; to whoever is found where it is None."""
        self._redirects += 1
        self.next = node
        self._attempt.asking = asking

    def refused(self, error: Exception) -> None:
        """It may go better next time."""
        self._redirects = 0
        self._error = error
        self._attempt.asking = False

    def rejected(self, error: Exception, hint: str = "") -> LedgerUnavailable:
        """It will not; but an earlier try may have been taken."""
        said = f"{error} ({hint})" if hint else str(error)
        if self.silent:
            return LedgerSilent(f"the ledger did not answer, and refuses now: {said}")
        return LedgerRejected(said)

    def unanswered(self) -> LedgerUnavailable:
        """The time is up."""
        if self.silent:
            return LedgerSilent("the ledger did not answer in time: the call may have happened")
        if isinstance(self._error, ResponseError):
            return LedgerRejected(str(self._error))
        said = f" ({self._error})" if self._error else ""
        return LedgerUnavailable(f"the ledger cannot be reached: is Redis running?{said}")


def _run(script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]) -> Work:
    async def run(line: Line) -> object:
        count = len(keys)
        try:
            return await line.ask(b"EVALSHA", script.sha, count, *keys, *args)
        except NoScriptError:
            return await line.ask(b"EVAL", script.text, count, *keys, *args)

    return run


def _plain(args: tuple[Argument, ...]) -> Work:
    async def run(line: Line) -> object:
        return await line.ask(*args)

    return run


def _key_of(args: tuple[Argument, ...]) -> bytes | None:
    """What the ledger's commands name first is their key."""
    name = args[0] if isinstance(args[0], str) else args[0].decode()
    if name.upper() in KEYLESS or len(args) < 2:
        return None
    key = args[1]
    return key if isinstance(key, bytes) else key.encode()


def _beside(key: bytes) -> bytes:
    """A key of our own in the slot of another."""
    tag = key[1 : key.index(b"}")] if key.startswith(b"{") else key
    return b"{%s}:touched" % tag


def _certificate_is_wrong(error: BaseException) -> bool:
    """Whether the server is not who it should be: no later try makes it so."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
