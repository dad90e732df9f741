"""POST /v1/sql: read-only SQL over the records, as its organisation's user for a bound token."""

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from clickhouse.quoting import quoted
from clickhouse.reading import texts
from console.auth import Viewer
from console.errors import InvalidRequest, NotAllowed
from console.parts import Parts
from console.records import NoUser, Question
from console.wire import Wanted

QUERY_CHARS_MAX = 128 * 1024
PARAMETERS_MAX = 100
FORMAT = "JSONCompact"
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class QueryWanted(Wanted):
    """`parameters` are the values of `{name:Type}` in the query: texts, numbers, true and false, or
    lists of these."""

    query: Annotated[str, Field(min_length=1, max_length=QUERY_CHARS_MAX)]
    parameters: Annotated[dict[Name, Any], Field(max_length=PARAMETERS_MAX, default_factory=dict)]


class Column(BaseModel):
    """Of the answer: its name and ClickHouse's type."""

    name: str
    type: str


class Answer(BaseModel):
    """Whole numbers of 64 bits are JSON integers, decimals are texts. `statistics` are the seconds
    that it took, and rows and bytes that were read."""

    columns: list[Column]
    rows: list[list[Any]]
    statistics: dict[str, float]


class _Told(msgspec.Struct):
    """ClickHouse's JSONCompact; what is passed on is not looked into."""

    meta: msgspec.Raw
    data: msgspec.Raw
    statistics: msgspec.Raw = msgspec.Raw(b"{}")


def add_routes(app: FastAPI, parts: Parts) -> None:
    """POST /v1/sql."""
    options = parts.options

    @app.post("/v1/sql", tags=["sql"], responses={200: {"model": Answer}})
    async def sql(wanted: QueryWanted, caller: Viewer) -> Response:
        """Runs a SELECT. Bounded in rows, bytes and time; nothing can be written."""
        question = Question(
            query=wanted.query,
            parameters=_parameters(wanted.parameters),
            format_name=FORMAT,
            rows_max=options.sql_rows_max,
            bytes_max=options.sql_bytes_max,
            ms_max=options.sql_ms_max,
        )
        try:
            body = await parts.records.ask(question, caller.organisation)
        except NoUser as error:
            raise NotAllowed(
                f"a token of one organisation cannot ask in SQL here: {error}", param="query"
            ) from None
        told = msgspec.json.decode(body, type=_Told)
        answer = {"columns": told.meta, "rows": told.data, "statistics": told.statistics}
        return Response(msgspec.json.encode(answer), media_type="application/json")


def _parameters(values: dict[str, Any]) -> dict[str, str]:
    """As ClickHouse's HTTP reads them: a plain value in TabSeparated's escapes, a list as the
    literal of an array, which has escapes of its own."""
    lists = {name: each for name, each in values.items() if isinstance(each, list)}
    plain = {name: _plain(name, each) for name, each in values.items() if name not in lists}
    return {**texts(plain), **{name: _array(name, each) for name, each in lists.items()}}


def _array(name: str, values: list[Any]) -> str:
    each = [quoted(one) if isinstance(one, str) else _plain(name, one) for one in values]
    return f"[{','.join(each)}]"


def _plain(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, list | dict):
        raise InvalidRequest(
            "a parameter is a text, a number, true or false, or a list of these",
            param=f"parameters.{name}",
        )
    return str(value)
