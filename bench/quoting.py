"""`python -m bench.quoting`: what a quote costs, and how far its bounds are above the truth.

CPU of the parts of one request that price it, without ledger or network. Tightness is the bound by
bytes, and the counted one, over what OpenAI bills by its cookbook's formula, for requests made of
this repository's own texts and of other languages: 1.0 would be no reserve at all, below it a bug.
"""

import argparse
import functools
import json
import os
import random
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from bench.cookbook import messages_tokens, tools_tokens
from gateway.demo import DemoUpstream
from gateway.dialects import CHAT
from gateway.dialects.chat import ChatDialect
from gateway.dialects.chat_input import InputBound
from gateway.options import GatewayOptions
from gateway.quoting import Quoting
from gateway.routes import Route
from gateway.upstream import NO_HEADERS, Origin, Timeouts
from pricing import DEMO_PRICES, Meters, Texts, Tokenizers, cost_nusd

ROOT = Path(__file__).parent.parent
SIZES = (1_000, 100_000)
GOALS_US = {1_000: 15, 100_000: 60}
REPEATS, CALLS = 15, 300
REQUESTS, SEED = 200, 7
ENCODINGS = ("o200k_base", "cl100k_base")
FOREIGN = (
    "每个请求在转发之前都会按最坏的费用预留。",
    "すべてのリクエストは、転送される前に最悪のコストで予約されます。",
    "모든 요청은 전달되기 전에 최악의 비용으로 예약됩니다.",
    "Каждый запрос резервируется по наихудшей цене, прежде чем он будет отправлен.",
    "يتم حجز كل طلب بأسوأ تكلفة ممكنة قبل إرساله.",
    "हर अनुरोध भेजे जाने से पहले उसकी सबसे अधिक लागत आरक्षित की जाती है।",
    "Jede Anfrage wird zu ihren schlimmsten Kosten reserviert, bevor sie weitergeleitet wird.",
    "Κάθε αίτημα δεσμεύεται με το χειρότερο κόστος πριν προωθηθεί.",
    "ทุกคำขอจะถูกจองด้วยต้นทุนสูงสุดก่อนส่งต่อ",
)

Request = dict[str, Any]


class Speed(NamedTuple):
    """CPU in microseconds: JSON and all, then what of it is the bound; the quote; the cost."""

    size: int
    parse_us: float
    bound_us: float
    quote_us: float
    cost_us: float


class Tightness(NamedTuple):
    """Bound over truth, of one kind of requests."""

    encoding: str
    kind: str
    by_bytes: list[float]
    counted: list[float]
    count_us_per_kb: float


def main() -> int:
    """Exit code 0, or 1 where a bound was below the truth."""
    parser = argparse.ArgumentParser(prog="python -m bench.quoting", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure to this file")
    arguments = parser.parse_args()
    load = os.getloadavg()
    speeds = [speed(size) for size in SIZES]
    assert "splintr" not in sys.modules, "a tokenizer was loaded although none was needed"
    rows = [tightness(encoding, kind) for encoding in ENCODINGS for kind in kinds()]
    console = Console()
    console.print(_speed_table(speeds))
    console.print(_tightness_table(rows))
    console.print(f"load {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after")
    if arguments.json:
        figures = {"speed": [each._asdict() for each in speeds], "load": load}
        arguments.json.write_text(json.dumps(figures | {"tightness": [r._asdict() for r in rows]}))
    return int(any(min(row.by_bytes + row.counted) < 1 for row in rows))


def route() -> Route:
    """Of a model whose tokenizer is known; nothing is sent."""
    patient = Timeouts(1, 1, 1)
    return Route(
        name="gpt-4o",
        endpoint=CHAT.endpoint,
        provider="openai",
        model="gpt-4o",
        price=DEMO_PRICES["demo/large"],
        upstream=DemoUpstream(),
        origin=Origin("http", "demo", 80),
        target=b"/",
        headers=NO_HEADERS,
        timeouts=patient,
        stream_timeouts=patient,
    )


def speed(size: int) -> Speed:
    """Of a chat request of so many bytes: one message, or twenty of a long one."""
    text = (2 * _prose())[: size - 100]
    step = len(text) if size <= 1_000 else len(text) // 20
    messages = [{"role": "user", "content": text[at : at + step]} for at in range(0, size, step)]
    document = {"model": "gpt-4o", "messages": messages, "max_tokens": 100}
    body = msgspec.json.encode(document)
    dialect, options, known = ChatDialect(), GatewayOptions(), route()
    call = dialect.parse(body)
    meters = Meters(text_input=size // 4, text_output=100)

    def bound() -> int:
        adding = InputBound()
        adding.add_messages(messages)
        return adding.tokens_max

    return Speed(
        len(body),
        _us(lambda: dialect.parse(body)),
        _us(bound),
        _us(lambda: Quoting.by_bytes(call, known, options).quote_of(100)),
        _us(lambda: cost_nusd(known.price, meters)),
    )


def _us(call: Callable[[], object]) -> float:
    """The best of several runs: a shared machine only ever adds."""
    runs = timeit.repeat(call, number=CALLS, repeat=REPEATS, timer=time.process_time)
    return min(runs) / CALLS * 1e6


def kinds() -> tuple[str, ...]:
    """What requests are made of."""
    return ("prose", "code", "json", "languages", "short turns", "tools")


def tightness(encoding: str, kind: str) -> Tightness:
    """Both bounds over the truth, for many requests of a kind."""
    from splintr import Tokenizer  # noqa: PLC0415  # only after the speed without it was measured

    tokenizer, tokenizers, dialect = (
        Tokenizer.from_pretrained(encoding),
        Tokenizers(),
        ChatDialect(),
    )
    rng = random.Random(f"{SEED} {kind}")
    tokenizers.count(encoding, ["loaded"])

    def count(text: str) -> int:
        return len(tokenizer.encode_ordinary(text))

    by_bytes, counted, size, spent_s = [], [], 0, 0.0
    for _ in range(REQUESTS):
        request = _request(kind, rng)
        truth = messages_tokens(request["messages"], count)
        truth += tools_tokens(request.get("tools", []), encoding, count)
        body = msgspec.json.encode(request)
        call = dialect.parse(body)
        start = time.process_time()
        texts = Texts()
        bound = dialect.input_tokens_max(call, texts) + tokenizers.count(encoding, texts.pieces)
        spent_s += time.process_time() - start
        size += len(body)
        by_bytes.append(call.input_tokens_max / truth)
        counted.append(bound / truth)
    return Tightness(encoding, kind, by_bytes, counted, spent_s * 1e6 / (size / 1_000))


def _request(kind: str, rng: random.Random) -> Request:
    """Of one to eight messages, from a line to some pages long."""
    texts = {"prose": _prose, "code": _code, "json": _json, "languages": _languages}
    if kind in texts:
        whole = texts[kind]()
        messages = [
            _message(whole, rng, 10 ** rng.uniform(2, 4.3)) for _ in range(rng.randint(1, 8))
        ]
        return {"model": "m", "messages": messages}
    messages = [_message(_prose(), rng, rng.uniform(10, 120)) for _ in range(rng.randint(4, 40))]
    request: Request = {"model": "m", "messages": messages}
    if kind == "tools":
        request["tools"] = [_tool(rng) for _ in range(rng.randint(1, 20))]
    return request


def _message(whole: str, rng: random.Random, chars: float) -> dict[str, str]:
    start = rng.randrange(max(1, len(whole) - int(chars)))
    role = rng.choice(("system", "user", "assistant"))
    return {"role": role, "content": whole[start : start + int(chars)]}


def _tool(rng: random.Random) -> Request:
    words = _prose().split()
    properties: Request = {}
    for _ in range(rng.randint(1, 6)):
        about = " ".join(rng.sample(words, rng.randint(4, 25)))
        value: Request = {"type": rng.choice(("string", "integer")), "description": about}
        if rng.random() < 0.3:
            value["enum"] = rng.sample(words, 3)
        properties[f"{rng.choice(words)}_{len(properties)}".lower()] = value
    function = {
        "name": "_".join(rng.sample(words, 2))[:40],
        "description": " ".join(rng.sample(words, rng.randint(5, 40))),
        "parameters": {"type": "object", "properties": properties, "required": list(properties)},
    }
    return {"type": "function", "function": function}


@functools.cache
def _read(folder: str, pattern: str) -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / folder).glob(pattern)))


def _prose() -> str:
    return _read("docs", "*.md")


def _code() -> str:
    return _read("gateway", "**/*.py")


def _json() -> str:
    return _read("tests/vectors", "*.json")


def _languages() -> str:
    return "\n".join(FOREIGN) * 200


def _speed_table(speeds: list[Speed]) -> Table:
    table = Table("request", "JSON and bound", "bound", "quote", "cost", "goal", title="CPU, us")
    for each in speeds:
        priced = each.bound_us + each.quote_us + each.cost_us
        goal = next(most for size, most in GOALS_US.items() if each.size <= size * 1.1)
        table.add_row(
            f"{each.size} B",
            *(f"{us:.1f}" for us in each[1:]),
            f"{priced:.1f} of {goal}",
        )
    return table


def _tightness_table(rows: list[Tightness]) -> Table:
    table = Table("tokenizer", "texts", "bytes: median", "p95", "counted: median", "p95", "least")
    table.add_column("us/KB")
    for row in rows:
        table.add_row(
            row.encoding,
            row.kind,
            *(f"{each:.2f}" for each in (*_middle(row.by_bytes), *_middle(row.counted))),
            f"{min(row.counted):.2f}",
            f"{row.count_us_per_kb:.0f}",
        )
    return table


def _middle(values: list[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return statistics.median(values), statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    sys.exit(main())
