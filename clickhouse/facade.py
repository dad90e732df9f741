"""The embedded records over ClickHouse's HTTP protocol, so that drivers, Grafana and curl work as
with a server, and so does everything of ours that reads records: one path, whichever engine.

A plain ASGI callable for loopback. Every request but the health check passes one door: host,
account, settings, then the guard. Reads run in threads of their own, a few at a time; a client
that hangs up ends its query. It never compresses a half answer into a whole one: an error after
the first byte is written into the body as ClickHouse writes it, and the connection is broken.
"""

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from clickhouse.accounts import Account, Accounts
from clickhouse.compression import accepted
from clickhouse.engine import Engine, Restrictions
from clickhouse.errors import Code, StoreRefused, StoreUnavailable
from clickhouse.facade_answer import (
    Piece,
    Progress,
    Server,
    SlowClient,
    common_headers,
    content_type,
    new_tag,
    respond,
    respond_error,
    send_within,
)
from clickhouse.facade_request import LOOPBACK, ClientGone, HttpRequest, Receive, Scope, Send
from clickhouse.facade_settings import WRITABLE, Chosen, chosen
from clickhouse.guard import Admitted, Guard, is_settings_probe, settings_answer
from clickhouse.query import RECALLED, load_query
from clickhouse.reading import Reading, format_of
from clickhouse.slots import Slots

_T = TypeVar("_T")
_READS = re.compile(
    rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:\(|(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS)\b)",
    re.IGNORECASE | re.DOTALL,
)
_INSERT = re.compile(
    rb"\s*(INSERT\s+INTO\s+[\w.`]+\s*(?:\([^()]*\))?)\s+FORMAT\s+(\w+)[ \t\r]*\n?", re.IGNORECASE
)
_HEALTHY = {"/ping": b"Ok.\n", "/replicas_status": b"Ok.\n"}
_log = logging.getLogger("comptroller.records")


@dataclass(frozen=True, slots=True)
class FacadeLimits:
    """Every bound of the HTTP side. Beyond: 413 (bodies), 503 with code 202 (reads)."""

    body_bytes_max: int = 1024**2  # a reader's query and its parameters
    insert_bytes_max: int = 64 * 1024**2  # decompressed
    reads_max: int = 6
    reads_of_account_max: int = 4
    read_wait_ms_max: int = 5_000
    send_ms_max: int = 30_000  # how long a client may take nothing
    piece_bytes_min: int = 64 * 1024


class Facade:
    """ASGI: HTTP and lifespan. `hosts` are names by which it may be called beside loopback's."""

    def __init__(
        self,
        engine: Engine,
        accounts: Accounts,
        *,
        hosts: Iterable[str] = (),
        limits: FacadeLimits | None = None,
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._limits = limits or FacadeLimits()
        self._hosts = LOOPBACK | {host.lower() for host in hosts}
        self._guard = Guard(engine)
        self._server = Server(engine.version, engine.timezone)
        bounds = self._limits
        self._slots = Slots(bounds.reads_max, bounds.reads_of_account_max, bounds.read_wait_ms_max)
        self._reads = ThreadPoolExecutor(bounds.reads_max, "records-read")
        # Writes and the ends of queries never wait behind reads.
        self._others = ThreadPoolExecutor(4, "records-other")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http":
            await self._http(HttpRequest(scope, receive), send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not served"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """Lets the threads go. The engine is whose it is."""
        self._reads.shutdown(wait=False, cancel_futures=True)
        self._others.shutdown(wait=False, cancel_futures=True)

    async def _http(self, request: HttpRequest, send: Send) -> None:
        plain = [(b"content-type", b"text/plain; charset=UTF-8")]
        if not request.check_host(self._hosts):
            await respond(send, 403, plain, b"This host name is not served here.\n")
        elif request.method not in {"GET", "HEAD", "POST"}:
            await respond(send, 405, [*plain, (b"allow", b"GET, HEAD, POST")], b"")
        elif request.path in _HEALTHY:
            await respond(send, 200, plain, _HEALTHY[request.path])
        elif request.path != "/":
            await respond(send, 404, plain, b"There is no such path; queries go to /\n")
        else:
            await self._answered(request, send)

    async def _answered(self, request: HttpRequest, send: Send) -> None:
        query_id = "none"
        try:
            query_id = request.query_id
            await self._served(request, send)
        except (ClientGone, SlowClient):
            return
        except StoreRefused as error:
            await self._refuse(request, send, error, query_id)
        except StoreUnavailable as error:
            away = StoreRefused(Code.STD_EXCEPTION, str(error))
            await self._refuse(request, send, away, query_id, 503)

    async def _refuse(
        self, request: HttpRequest, send: Send, error: StoreRefused, query_id: str, status: int = 0
    ) -> None:
        headers = common_headers(self._server, query_id)
        if not request.is_read:  # what is left of it would be taken for the next request
            headers.append((b"connection", b"close"))
        await respond_error(send, error, headers, self._server.version, status)

    async def _served(self, request: HttpRequest, send: Send) -> None:
        account = self._account(request)
        if account is None:  # a GET of nothing by nobody, as browsers and probes do
            await respond(send, 200, [], b"Ok.\n")
            return
        bounds = self._limits
        body = await request.body(
            bounds.insert_bytes_max if account.may_write else bounds.body_bytes_max
        )
        fields, statement = request.asked(body)
        choice = chosen(fields, self._engine.limits, may_write=account.may_write)
        if fields.get("database", "comptroller") not in {"", "comptroller", "default"}:
            raise StoreRefused(Code.UNKNOWN_DATABASE, "the database is comptroller")
        if account.may_write and not _READS.match(statement):
            await self._write(request, send, statement, choice)
            return
        asked = request.header("x-clickhouse-format") or fields.get("default_format", "")
        coding = accepted(request.header("accept-encoding"))
        if fields.get("enable_http_compression") == "0":
            coding = ""
        answer = _Answer(request, send, format_of(asked or "TabSeparated"), coding)
        query = _text(statement)
        async with self._slots.place(account.user):
            reading = await self._begin(lambda: self._begun(answer, account, query, choice))
            gone = asyncio.create_task(request.until_gone())
            try:
                await self._sent(answer, reading, gone)
            finally:
                gone.cancel()
                await self._close(reading)

    async def _begin(self, call: Callable[[], Reading]) -> Reading:
        """A reading has an owner, or is closed: also if the server stops at this moment."""
        beginning = asyncio.ensure_future(self._in_reads(call))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.wait({beginning})
            if beginning.exception() is None:
                beginning.result().close()
            raise

    async def _close(self, reading: Reading) -> None:
        try:
            await self._in_reads(reading.close)
        except RuntimeError:  # the threads are gone: the server stops
            reading.close()

    def _account(self, request: HttpRequest) -> Account | None:
        credentials = request.credentials()
        if credentials is None:
            if request.method in {"GET", "HEAD"} and not request.fields:
                return None
            raise StoreRefused(
                Code.REQUIRED_PASSWORD, "send a user and its password: `comptroller sql` has them"
            )
        account = self._accounts.check(credentials.user, credentials.password)
        if account is None:
            raise StoreRefused(
                Code.AUTHENTICATION_FAILED,
                f"{credentials.user[:64]}: Authentication failed: password is incorrect, or "
                "there is no user with such name",
            )
        return account

    def _admitted(self, account: Account, query: str, choice: Chosen) -> Admitted:
        """Blocks. Who may write may read all, the server's own tables too."""
        if account.may_recall:
            return _recalled(query, choice)
        if not account.may_write:
            return self._guard.admit(query, choice.parameters, account.organisation)
        text, format_name = self._guard.spelled(query)
        if is_settings_probe(text):
            return settings_answer(format_name, WRITABLE)
        return Admitted(text, format_name, choice.parameters, Restrictions())

    def _begun(self, answer: "_Answer", account: Account, query: str, choice: Chosen) -> Reading:
        """Blocks. The query as it may run, on a connection of its own."""
        admitted = self._admitted(account, query, choice)
        if admitted.format_name:
            answer.format_name = format_of(admitted.format_name)
        filters, settings = admitted.restrictions.filters, choice.settings
        if filters:  # what a query has read counts the rows of others, too
            answer.tells_progress = False
            settings = {name: settings[name] for name in settings if name != "max_rows_to_read"}
        restrictions = Restrictions(filters, settings)
        return self._engine.read(
            admitted.query, answer.format_name, admitted.parameters, restrictions
        )

    async def _sent(self, answer: "_Answer", reading: Reading, gone: "asyncio.Task[None]") -> None:
        pieces = Piece(reading, answer.coding, self._limits.piece_bytes_min)
        part, last = await self._taken(pieces, reading, gone)
        progress = Progress()
        if answer.tells_progress:
            progress = Progress(reading.rows_read, reading.bytes_read)
        if last:
            await respond(answer.send, 200, answer.headers(self._server, progress), part)
            return
        tag = new_tag()
        await answer.begin(self._server, progress, tag)
        while True:
            await send_within(answer.send, part, more=not last, ms_max=self._limits.send_ms_max)
            if last:
                return
            try:
                part, last = await self._taken(pieces, reading, gone)
            except StoreRefused as error:
                await self._broken(answer, pieces, error, tag)
                return

    async def _broken(
        self, answer: "_Answer", pieces: Piece, error: StoreRefused, tag: str
    ) -> None:
        """Leaves an answer without its end: the server then breaks the connection."""
        _log.info("an answer was cut short: code %d", error.code)
        block = pieces.with_exception(error, self._server.version, tag)
        await send_within(answer.send, block, more=True, ms_max=self._limits.send_ms_max)

    async def _taken(
        self, pieces: Piece, reading: Reading, gone: "asyncio.Task[None]"
    ) -> tuple[bytes, bool]:
        """The next part; a client that hangs up meanwhile ends the query (ClientGone)."""
        taking = asyncio.ensure_future(self._in_reads(pieces.take))
        try:
            await asyncio.wait({taking, gone}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            raise ClientGone
        finally:
            if not taking.done():  # its thread must be out before the reading is closed
                self._others.submit(reading.cancel)
                await asyncio.wait({taking})
                taking.exception()  # seen: code 394

    async def _write(
        self, request: HttpRequest, send: Send, statement: bytes, choice: Chosen
    ) -> None:
        if request.method != "POST":
            raise StoreRefused(Code.READONLY, "GET only reads: send a POST")
        found = _INSERT.match(statement)
        rows = 0
        if found is not None:
            rows = await self._in_others(
                lambda: self._engine.insert(
                    _text(found[1]), statement[found.end() :], _text(found[2]), choice.token
                )
            )
        else:
            await self._in_others(lambda: self._engine.command(_text(statement)))
        headers = common_headers(self._server, request.query_id)
        await respond(send, 200, [*headers, Progress(rows_written=rows).header()], b"")

    async def _in_reads(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._reads, call)

    async def _in_others(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._others, call)


class _Answer:
    """Where one answer goes, and how."""

    def __init__(self, request: HttpRequest, send: Send, format_name: str, coding: str) -> None:
        self.request = request
        self.send = send
        self.format_name = format_name
        self.coding = coding
        self.tells_progress = True

    def headers(self, server: Server, progress: Progress) -> list[tuple[bytes, bytes]]:
        """Of an answer with this format and coding."""
        coding = [(b"content-encoding", self.coding.encode())] if self.coding else []
        return [
            *common_headers(server, self.request.query_id),
            (b"content-type", content_type(self.format_name)),
            (b"x-clickhouse-format", self.format_name.encode()),
            (b"vary", b"accept-encoding"),
            progress.header(),
            *coding,
        ]

    async def begin(self, server: Server, progress: Progress, tag: str) -> None:
        """An answer in parts."""
        headers = [*self.headers(server, progress), (b"x-clickhouse-exception-tag", tag.encode())]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})


def listen(port: int) -> socket.socket:
    """A socket on loopback to serve a facade from; 0: any port. Small answers leave at once:
    asyncio sets TCP_NODELAY only on sockets that name their protocol, and those accepted here
    inherit it (40 ms an answer, measured)."""
    listening = socket.create_server(("127.0.0.1", port))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _recalled(query: str, choice: Chosen) -> Admitted:
    """One of our own queries, to the letter."""
    if all(query.strip() != load_query(name).strip() for name in RECALLED):
        raise StoreRefused(Code.ACCESS_DENIED, "this user asks what a ledger has forgotten only")
    return Admitted(query, "", choice.parameters, Restrictions())


def _text(statement: bytes) -> str:
    try:
        return statement.decode()
    except UnicodeDecodeError:
        raise StoreRefused(Code.SYNTAX_ERROR, "a query is UTF-8") from None
