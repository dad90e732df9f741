"""The ledger behind TLS: a proxy with a certificate in front of a real server. Who cannot show the
right certificate is not spoken to."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from budgets.embedded import EmbeddedServer
from budgets.pipelined import TransportLimits
from budgets.redispy import RedisPyTransport
from budgets.redisurl import RedisUrlInvalid
from budgets.transport import LedgerUnavailable
from tests.budgets.conftest import PATIENT
from tests.budgets.harness import desk_for, dollars, granted

CHUNK = 65_536


class TlsProxy:
    """Ends TLS in front of a unix socket; it counts what came through."""

    def __init__(self, socket_path: Path, context: ssl.SSLContext) -> None:
        self._socket_path = socket_path
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0

    async def start(self) -> int:
        """The port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        behind, before = await asyncio.open_unix_connection(str(self._socket_path))
        pumps = [
            asyncio.create_task(self._pump(reader, before)),
            asyncio.create_task(self._pump(behind, writer)),
        ]
        self._tasks.update(pumps)
        self._writers.update((writer, before))
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, before):
            each.close()
        await asyncio.wait(pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                writer.write(chunk)
                await writer.drain()

    def cut(self) -> None:
        """All connections break."""
        for each in self._writers:
            each.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        """Ends all."""
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom the certificates are from."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate, as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def proxy(valkey: EmbeddedServer, authority: trustme.CA) -> AsyncIterator[TlsProxy]:
    """In front of the shared server, as `localhost`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    proxy = TlsProxy(valkey.socket_path, context)
    yield proxy
    await proxy.stop()


def url(port: int, trusted: Path, host: str = "localhost", more: str = "") -> str:
    """The ledger's URL."""
    return f"rediss://{host}:{port}/0?ssl_ca_certs={quote(str(trusted))}{more}"


@contextlib.asynccontextmanager
async def transport_to(
    address: str, limits: TransportLimits = PATIENT
) -> AsyncIterator[RedisPyTransport]:
    """Closed in any case."""
    transport = RedisPyTransport(address, limits=limits)
    try:
        yield transport
    finally:
        await transport.close()


async def test_the_ledger_works_through_tls(
    proxy: TlsProxy, trusted: Path, organisation: str
) -> None:
    """Policy with its disk, reservations, many at once."""
    async with transport_to(url(await proxy.start(), trusted)) as transport:
        desk = desk_for(organisation, transport)
        await desk.session.open_organisation(organisation, create=True)
        await desk.set_budget(organisation, [{"usd": "1"}])
        answers = await asyncio.gather(*(desk.ask(dollars(1)) for _ in range(200)))
        assert all(granted(each) for each in answers)
        assert await desk.totals() == (0, 200)
    assert 1 < proxy.connections <= 64


async def test_a_cut_connection_is_made_again(
    proxy: TlsProxy, trusted: Path, organisation: str
) -> None:
    """Calls in flight are sent again under their ids, and counted once."""
    async with transport_to(url(await proxy.start(), trusted)) as transport:
        desk = desk_for(organisation, transport)
        await desk.session.open_organisation(organisation, create=True)
        await desk.set_budget(organisation, [{"usd": "1"}])
        asking = [asyncio.create_task(desk.ask(dollars(1))) for _ in range(100)]
        for _ in range(3):
            await asyncio.sleep(0.01)
            proxy.cut()
            asking += [asyncio.create_task(desk.ask(dollars(1))) for _ in range(50)]
        assert all(granted(each) for each in await asyncio.gather(*asking))
        assert await desk.totals() == (0, len(asking))


async def test_a_certificate_of_another_authority_is_refused(
    proxy: TlsProxy, tmp_path: Path
) -> None:
    """At once, and nothing is said to that server; the machine's authorities are the default."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    port = await proxy.start()
    for address in (url(port, other), f"rediss://localhost:{port}"):
        async with transport_to(address) as transport, asyncio.timeout(15):
            with pytest.raises(LedgerUnavailable, match=r"not trusted.*certificate"):
                await transport.command("PING")
    assert proxy.connections == 0


async def test_a_certificate_of_another_host_is_refused(proxy: TlsProxy, trusted: Path) -> None:
    """The certificate is right, the name is not."""
    address = url(await proxy.start(), trusted, host="127.0.0.1")
    async with transport_to(address) as transport, asyncio.timeout(15):
        with pytest.raises(LedgerUnavailable, match=r"not trusted.*127.0.0.1"):
            await transport.command("PING")
    assert proxy.connections == 0


async def test_verification_cannot_be_turned_off() -> None:
    """There is no option for it, and none is passed on unseen."""
    for more in ("ssl_cert_reqs=none", "ssl_check_hostname=false", "ssl_ca_certs=a&ssl_ca_certs=b"):
        with pytest.raises(RedisUrlInvalid):
            RedisPyTransport(f"rediss://localhost:1/0?{more}")


async def test_a_client_certificate_is_shown(
    valkey: EmbeddedServer, authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    """Where the server asks for one; without it the call ends in time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue_cert("comptroller")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in mine.cert_chain_pems))
    mine.private_key_pem.write_to_path(key)
    proxy = TlsProxy(valkey.socket_path, context)
    try:
        port = await proxy.start()
        more = f"&ssl_certfile={quote(str(chain))}&ssl_keyfile={quote(str(key))}"
        async with transport_to(url(port, trusted, more=more)) as transport:
            assert await transport.command("PING") == b"PONG"
        limits = TransportLimits(call_timeout_ms=300)
        async with transport_to(url(port, trusted), limits) as transport, asyncio.timeout(15):
            with pytest.raises(LedgerUnavailable):
                await transport.command("PING")
    finally:
        await proxy.stop()
