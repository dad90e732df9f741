"""The records as the console asks them: ClickHouse's HTTP protocol, embedded engine or server.

Plain httpx, because a question must end when whoever asked has gone, and an answer must stop at its
bound: the driver's synchronous client does neither, and its asynchronous one needs another HTTP
library. Nothing that is asked here can write: an account that may not, and `readonly=1`, with which
a server refuses files, URLs and settings in a query as well.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from clickhouse.errors import Code, StoreRefused, refused
from clickhouse.query import load_query
from clickhouse.reading import texts
from clickhouse.slots import Slots
from console.options import ConsoleOptions

ROWS = "JSONEachRow"
CONNECT_S_MAX = 5
_LOCKED = (Code.REQUIRED_PASSWORD, Code.AUTHENTICATION_FAILED)
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# 64-bit integers as they are, decimals as text: neither becomes a float on the way.
_EXACT = {"output_format_json_quote_64bit_integers": "0", "output_format_json_quote_decimals": "1"}


class RecordsAway(Exception):
    """The records do not answer, or not now."""


class RecordsBusy(RecordsAway):
    """Too many questions run at once, in all or of this organisation."""


class RecordsBehind(RecordsAway):
    """They have not yet all that the ledger has."""


class NoUser(RecordsAway):
    """An organisation has no user of its own here: at a ClickHouse server, nobody has made one."""


@dataclass(frozen=True, slots=True)
class RecordsAddress:
    """Where records answer HTTP, and as whom."""

    url: str
    user: str
    password: str = field(repr=False)


# Finds the records for one organisation's user ("": who sees all) at the moment of a question: a
# recorder that was restarted may listen elsewhere. May read files. Raises RecordsAway, NoUser.
Where = Callable[[str], RecordsAddress]


@dataclass(frozen=True, slots=True)
class Question:
    """A query with its parameters (in TabSeparated's escapes) and its bounds."""

    query: str
    parameters: Mapping[str, str]
    format_name: str
    rows_max: int
    bytes_max: int
    ms_max: int

    def fields(self) -> dict[str, str]:
        """Of the URL."""
        return {
            "database": "comptroller",
            "default_format": self.format_name,
            "readonly": "1",
            "wait_end_of_query": "1",  # an error comes as a status, not in the middle of an answer
            "result_overflow_mode": "throw",
            "max_result_rows": str(self.rows_max),
            "max_result_bytes": str(self.bytes_max),
            "max_execution_time": str(-(-self.ms_max // 1000)),
            **_EXACT,
            **{f"param_{name}": value for name, value in self.parameters.items()},
        }


class Records:
    """Asks. All raise StoreRefused (ClickHouse's refusal) and RecordsAway."""

    def __init__(self, where: Where, options: ConsoleOptions) -> None:
        self._where = where
        self._options = options
        # A long question of one organisation must not keep all others waiting.
        self._slots = Slots(
            options.records_connections_max,
            options.organisation_connections_max,
            options.records_wait_ms_max,
        )
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=options.records_connections_max),
            # Loopback is never reached through a proxy that the environment names.
            mounts={f"all://{host}": None for host in _LOOPBACK},
            headers={"accept-encoding": "identity"},
        )

    async def ask(self, question: Question, organisation: str, *, user: str | None = None) -> bytes:
        """The answer for an organisation ("": for all), as its user if no other is named."""
        address = await asyncio.to_thread(self._where, organisation if user is None else user)
        try:
            async with self._slots.place(organisation):
                return await self._answer(address, question)
        except StoreRefused as error:
            if error.code == Code.TOO_MANY_SIMULTANEOUS_QUERIES:
                raise RecordsBusy(str(error)) from None
            raise

    async def _answer(self, address: RecordsAddress, question: Question) -> bytes:
        timeout = httpx.Timeout(CONNECT_S_MAX, read=question.ms_max / 1000 + CONNECT_S_MAX)
        try:
            async with (
                asyncio.timeout(question.ms_max / 1000 + 2 * CONNECT_S_MAX),
                self._client.stream(
                    "POST",
                    f"{address.url.rstrip('/')}/",
                    params=question.fields(),
                    content=question.query.encode(),
                    auth=(address.user, address.password),
                    timeout=timeout,
                ) as answer,
            ):
                body = await _bounded(answer, question.bytes_max)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise RecordsAway(f"no answer: {type(error).__name__} {str(error)[:200]}") from None
        if answer.status_code != 200:
            raise _failure(answer, body)
        named = answer.headers.get("x-clickhouse-format", question.format_name)
        if named != question.format_name:
            raise StoreRefused(Code.UNKNOWN_FORMAT, "leave the FORMAT clause out")
        return body

    async def rows(
        self, name: str, parameters: Mapping[str, str | int], organisation: str
    ) -> list[dict[str, Any]]:
        """The rows of a query in `clickhouse/queries`. Where an organisation has no user of its
        own the query's own condition alone keeps others' rows out."""
        question = Question(
            query=load_query(name),
            parameters=texts(parameters),
            format_name=ROWS,
            rows_max=self._options.own_rows_max,
            bytes_max=self._options.own_bytes_max,
            ms_max=self._options.own_query_ms_max,
        )
        try:
            body = await self.ask(question, organisation)
        except NoUser:
            body = await self.ask(question, organisation, user="")
        return [msgspec.json.decode(line) for line in body.splitlines()]

    async def ping(self) -> None:
        """Whether they answer; no query, because anybody may ask this. Raises RecordsAway."""
        try:
            async with asyncio.timeout(self._options.ready_ms_max / 1000):
                address = await asyncio.to_thread(self._where, "")
                answer = await self._client.get(f"{address.url.rstrip('/')}/ping")
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise RecordsAway(f"no answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise RecordsAway(f"status {answer.status_code}")

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._client.aclose()


async def _bounded(answer: httpx.Response, bytes_max: int) -> bytes:
    pieces, size = [], 0
    async for piece in answer.aiter_bytes():
        size += len(piece)
        if size > bytes_max:
            raise StoreRefused(
                Code.TOO_MANY_ROWS_OR_BYTES,
                f"the answer is larger than {bytes_max} bytes: ask for less, or `comptroller sql`",
            )
        pieces.append(piece)
    return b"".join(pieces)


def _failure(answer: httpx.Response, body: bytes) -> Exception:
    error = refused(body.decode("utf-8", "replace"))
    told = answer.headers.get("x-clickhouse-exception-code", "")
    if error.code == Code.TOO_MANY_SIMULTANEOUS_QUERIES:
        return error
    if answer.status_code == 503 or error.code in _LOCKED or not told.isdigit():
        return RecordsAway(f"status {answer.status_code}: {error}")
    return error
