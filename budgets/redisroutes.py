"""Which server a key is on: the only one, the one that the sentinels name, or one of a cluster.

What is known may be out of date at any time. It is used until a server says otherwise or does not
answer; then it is asked for again, by one call for all that wait, and never for calls that go to
other servers.
"""

import asyncio
import random
from typing import Protocol

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from budgets.redisnode import Dial, Held, Node, said
from budgets.redisurl import RedisUrl

ASK_MS_MAX = 500
REFRESH_MS_LEAST = 50
PRIMARY_ASKED_EVERY_MS = 1_000
PRIMARY_BELIEVED_MS = 2_000

Address = tuple[str, int]


class NoServer(Exception):
    """Nobody says which server has the key."""


class Routes(Protocol):
    """From keys to servers."""

    async def node(self, key: bytes | None) -> Node:
        """The server that has the key; for None any that has data. Raises NoServer."""
        ...

    async def doubt(self, node: Node) -> None:
        """It did not answer, or says that it does not lead: whoever comes next asks again."""
        ...

    def moved(self, key: bytes, address: Address) -> Node | None:
        """A server says that another one has the key's slot. None where there are no slots."""
        ...

    def at(self, address: Address) -> Node:
        """That server."""
        ...

    async def primaries(self) -> list[Node]:
        """All servers that data is written to. Raises NoServer."""
        ...

    async def close(self) -> None:
        """Ends all connections."""
        ...


class OneServer:
    """Always the same address; what is behind it may change."""

    def __init__(self, dial: Dial, url: RedisUrl) -> None:
        self._node = Node(dial, url.servers[0] if url.servers else ("", 0))

    async def node(self, key: bytes | None) -> Node:  # noqa: ARG002  # see Routes
        """See Routes."""
        return self._node

    async def doubt(self, node: Node) -> None:
        """See Routes. The name may lead to another server by now."""
        await node.drop()

    def moved(self, key: bytes, address: Address) -> Node | None:  # noqa: ARG002  # see Routes
        """See Routes."""
        return None

    def at(self, address: Address) -> Node:  # noqa: ARG002  # see Routes
        """See Routes."""
        return self._node

    async def primaries(self) -> list[Node]:
        """See Routes."""
        return [self._node]

    async def close(self) -> None:
        """See Routes."""
        await self._node.close()


class BySentinel:
    """The primary that the sentinels name. They are asked again every second while there are
    calls, because a primary that was cut off from them goes on answering; after a pause they are
    asked first. Where none of them answers, what they said last holds."""

    def __init__(self, dial: Dial, url: RedisUrl) -> None:
        self._dial = dial
        self._sentinels = list(url.servers)
        self._service = url.service
        self._primary: Node | None = None
        self._told_s = 0.0
        self._asking: asyncio.Task[Node] | None = None
        self._nodes: dict[Address, Node] = {}

    async def node(self, key: bytes | None) -> Node:  # noqa: ARG002  # see Routes
        """See Routes."""
        now_s = asyncio.get_running_loop().time()
        is_old = now_s - self._told_s > PRIMARY_ASKED_EVERY_MS / 1000
        if self._asking is None and (self._primary is None or is_old):
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._answered)
        if self._primary is not None and now_s - self._told_s < PRIMARY_BELIEVED_MS / 1000:
            return self._primary
        assert self._asking is not None
        try:
            return await asyncio.shield(self._asking)
        except NoServer:
            if self._primary is None:
                raise
            return self._primary

    async def _ask(self) -> Node:
        named = b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._service
        for sentinel in list(self._sentinels):
            answer = await _asked(self._dial.sentinel(sentinel), *named)
            if isinstance(answer, list) and len(answer) == 2:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)  # who answers is asked first
                primary = self.at((answer[0].decode(), int(answer[1])))
                for other in [each for each in self._nodes.values() if each is not primary]:
                    await other.drop()
                return primary
        raise NoServer(f"no sentinel answers and knows {self._service!r}: are they running?")

    def _answered(self, asking: asyncio.Task[Node]) -> None:
        self._asking = None
        if asking.cancelled():
            return
        self._told_s = asyncio.get_running_loop().time()
        if asking.exception() is None:  # else whoever waits for it is told; the last answer stays
            self._primary = asking.result()

    async def doubt(self, node: Node) -> None:
        """See Routes."""
        if node is self._primary:
            self._primary = None
        await node.drop()

    def moved(self, key: bytes, address: Address) -> Node | None:  # noqa: ARG002  # see Routes
        """See Routes."""
        return None

    def at(self, address: Address) -> Node:
        """See Routes."""
        if address not in self._nodes:
            self._nodes[address] = Node(self._dial, address, must_lead=True)
        return self._nodes[address]

    async def primaries(self) -> list[Node]:
        """See Routes."""
        return [await self.node(None)]

    async def close(self) -> None:
        """See Routes."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for node in self._nodes.values():
            await node.close()


class Cluster:
    """The slots of a cluster, as one of its servers tells them, corrected by what others say."""

    def __init__(self, dial: Dial, url: RedisUrl) -> None:
        self._dial = dial
        self._seeds = url.servers
        self._slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._nodes: dict[Address, Node] = {}
        self._primaries: list[Node] = []
        self._doubted: set[Node] = set()
        self._asking: asyncio.Task[None] | None = None

    async def node(self, key: bytes | None) -> Node:
        """See Routes."""
        found = self._known(key)
        if found is None or found in self._doubted:
            await self._refreshed()
            found = self._known(key)
        if found is None:
            raise NoServer("no server of the cluster has the slot: see CLUSTER SLOTS")
        return found

    def _known(self, key: bytes | None) -> Node | None:
        if key is not None:
            return self._slots[key_slot(key)]
        trusted = [each for each in self._primaries if each not in self._doubted]
        return random.choice(trusted or self._primaries or [None])  # noqa: S311  # any will do

    async def _refreshed(self) -> None:
        """One question for all that wait."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._refresh())
            self._asking.add_done_callback(self._answered)
        await asyncio.shield(self._asking)

    def _answered(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # whoever waits for it is told

    async def _refresh(self) -> None:
        asked = [each.address for each in self._primaries if each not in self._doubted]
        random.shuffle(asked)
        others = {*self._seeds, *self._nodes}.difference(asked)
        for address in (*asked, *others):
            answer = await _asked(self._dial.server(address), b"CLUSTER", b"SLOTS")
            if isinstance(answer, list) and answer:
                await self._learn(answer, address)
                await asyncio.sleep(REFRESH_MS_LEAST / 1000)  # a cluster needs time to agree
                return
        raise NoServer("no server of the cluster answers: are they running?")

    async def _learn(self, ranges: list[object], asked: Address) -> None:
        """Takes up an answer of CLUSTER SLOTS: first, last, primary (host, port, ...), replicas."""
        self._doubted.clear()
        self._slots = [None] * REDIS_CLUSTER_HASH_SLOTS
        for each in ranges:
            assert isinstance(each, list)
            first, last, (host, port, *_) = each[:3]
            # No name: the server does not know by which one it was reached.
            node = self.at((host.decode() if host else asked[0], int(port)))
            self._slots[first : last + 1] = [node] * (last + 1 - first)
        self._primaries = list(dict.fromkeys(node for node in self._slots if node is not None))
        for address in [each for each in self._nodes if self._nodes[each] not in self._primaries]:
            await self._nodes.pop(address).drop()

    async def doubt(self, node: Node) -> None:
        """See Routes."""
        self._doubted.add(node)
        await node.drop()

    def moved(self, key: bytes, address: Address) -> Node | None:
        """See Routes."""
        node = self.at(address)
        if node not in self._primaries:
            self._primaries.append(node)
        self._slots[key_slot(key)] = node
        return node

    def at(self, address: Address) -> Node:
        """See Routes."""
        if address not in self._nodes:
            self._nodes[address] = Node(self._dial, address)
        return self._nodes[address]

    async def primaries(self) -> list[Node]:
        """See Routes."""
        if not self._primaries:
            await self._refreshed()
        return list(self._primaries)

    async def close(self) -> None:
        """See Routes."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for node in self._nodes.values():
            await node.close()


async def _asked(held: Held, *words: bytes | str) -> object:
    """What a server says to a question about others, on a connection of its own; None for nothing
    in time. Raises redis-py's ResponseError."""
    try:
        async with asyncio.timeout(ASK_MS_MAX / 1000):
            await held.connect()
            return await said(held, *words)
    except (RedisConnectionError, OSError, TimeoutError):
        return None
    finally:
        await held.disconnect(nowait=True)


def routes_of(url: RedisUrl, dial: Dial) -> Routes:
    """How the servers of this URL are found."""
    if url.kind == "sentinel":
        return BySentinel(dial, url)
    return Cluster(dial, url) if url.kind == "cluster" else OneServer(dial, url)
