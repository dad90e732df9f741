"""`python -m bench.surfaces`: what each wire format costs next to chat completions, in one run.

CPU of what differs between them: reading and bounding a request, writing what is forwarded, reading
the usage of an answer; and of each chunk of a stream. The rest of a request's path is the same for
all of them. The best of many rounds, because the machine has others on it.
"""

import argparse
import json
import os
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from gateway.demo.chat import chat_pieces
from gateway.demo.completions import completion_pieces
from gateway.demo.embeddings import embedding_pieces
from gateway.demo.messages import messages_pieces
from gateway.demo.responses import responses_pieces
from gateway.dialects import DIALECTS

ROUNDS, CALLS = 15, 400
TEXT = "The budget of an agent is not what somebody hopes for. " * 18  # with its envelope 1 KB
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
Pieces = Callable[[dict[str, Any]], list[bytes]]


class Format(NamedTuple):
    """`request` beside model and stream; `pieces` answers it; `cap` is the field of the cap."""

    request: dict[str, Any]
    pieces: Pieces
    cap: str
    streams: bool = True


MESSAGE = [{"role": "user", "content": TEXT}]
FORMATS = {
    CHAT: Format({"messages": MESSAGE, "max_tokens": 100}, chat_pieces, "max_tokens"),
    MESSAGES: Format({"messages": MESSAGE, "max_tokens": 100}, messages_pieces, "max_tokens"),
    RESPONSES: Format(
        {"input": TEXT, "max_output_tokens": 100}, responses_pieces, "max_output_tokens"
    ),
    "/v1/completions": Format({"prompt": TEXT, "max_tokens": 100}, completion_pieces, "max_tokens"),
    "/v1/embeddings": Format({"input": TEXT}, embedding_pieces, "", streams=False),
}


class Row(NamedTuple):
    """Microseconds: of a request, of its answer's usage, of a chunk (None: it has none)."""

    endpoint: str
    request_us: float
    usage_us: float
    chunk_us: float | None


def main() -> None:
    """Prints a table; with --json writes it, too."""
    parser = argparse.ArgumentParser(prog="python -m bench.surfaces", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [measured(endpoint, each) for endpoint, each in FORMATS.items()]
    console = Console()
    console.print(_table(rows))
    console.print(f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in rows]))


def measured(endpoint: str, wire: Format) -> Row:
    """One wire format."""
    dialect = DIALECTS[endpoint]
    document = {"model": "m", **wire.request}
    body = msgspec.json.encode(document)
    encoded = dialect.encode(dialect.parse(body, {}), "m")
    answer = b"".join(wire.pieces(msgspec.json.decode(encoded)))

    def request() -> None:
        call = dialect.parse(body, {})
        dialect.with_cap(dialect.encode(call, "m"), wire.cap, 100)

    def usage() -> None:
        dialect.usage(answer, "openai")

    chunk_us = _chunk_us(endpoint, wire) if wire.streams else None
    return Row(endpoint, _us(request), _us(usage), chunk_us)


def _chunk_us(endpoint: str, wire: Format) -> float:
    """Of the chunks in the middle of a stream, each an event."""
    dialect = DIALECTS[endpoint]
    call = dialect.parse(msgspec.json.encode({"model": "m", "stream": True, **wire.request}), {})
    pieces = wire.pieces(msgspec.json.decode(dialect.encode(call, "m")))
    middle = pieces[len(pieces) // 2]
    reader = dialect.stream_reader(call, "openai")
    for piece in pieces[: len(pieces) // 2]:
        reader.feed(piece)
    return _us(lambda: reader.feed(middle))


def _us(run: Callable[[], object]) -> float:
    return min(timeit.repeat(run, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def _table(rows: list[Row]) -> Table:
    table = Table("endpoint", "request, us", "x chat", "usage, us", "x chat", "chunk, us", "x chat")
    chat = rows[0]
    for row in rows:
        chunk = ("", "")
        if row.chunk_us is not None and chat.chunk_us:
            chunk = (f"{row.chunk_us:.2f}", f"{row.chunk_us / chat.chunk_us:.2f}")
        table.add_row(
            row.endpoint,
            f"{row.request_us:.1f}",
            f"{row.request_us / chat.request_us:.2f}",
            f"{row.usage_us:.1f}",
            f"{row.usage_us / chat.usage_us:.2f}",
            *chunk,
        )
    return table


if __name__ == "__main__":
    main()
