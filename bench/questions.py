"""The ten commonest questions (`questions.sql`), asked of many events over sixty days."""

import re
import string
import time
from collections.abc import Callable
from importlib import resources
from statistics import median

from clickhouse.store import Store

REPETITIONS = 3
STEP = 100_000  # what an insert with its projections may take of the memory
_QUESTION = re.compile(r"-- (.+)\n([^;]+);")


async def ask_questions(store: Store, add: Callable[[str, str], None], events: int) -> None:
    """Fills the events and asks; each figure is the median of a few, with the slowest."""
    fill = _text("fill.sql")
    for first in range(0, events, STEP):
        count = min(STEP, events - first)
        values = {"first": first, "count": count, "total": events}
        await store.command(string.Template(fill).substitute(values))
    for name, question in _QUESTION.findall(_text("questions.sql")):
        add(f"{name}, {events:,} events", await _timed(store, question))


def _text(name: str) -> str:
    return (resources.files("bench") / name).read_text(encoding="utf-8")


async def _timed(store: Store, question: str) -> str:
    took_ms = []
    for _ in range(REPETITIONS):
        began_s = time.perf_counter()
        await store.select(question, {})
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return f"{median(took_ms):.0f} ms (slowest {max(took_ms):.0f})"
