"""What steps say while they work, for whoever follows a run: one small stream at the ledger for
each run, `comptroller:live:<run>`.

It is lossy by design, and in nobody's way. What a run says within FLUSH_MS is one entry; the last
ENTRIES_MAX of them are kept, until nothing was said for KEPT_MS. While the ledger is away or slow,
and beyond PENDING_CHARS_MAX, what is said is dropped and counted. The whole is the step's output.
"""

import asyncio
from typing import Literal

import msgspec

from budgets.transport import LedgerTransport, LedgerUnavailable
from orchestrator.places import PLAIN, AttemptPlace

FLUSH_MS = 100
KEPT_MS = 3_600_000
ENTRIES_MAX = 1_000
"""About: the server drops older ones when it is cheap."""
PENDING_CHARS_MAX = 16_384
"""Of one run, within FLUSH_MS."""
READ_AT_ONCE = 100
"""Entries."""
WAIT_MS = 10_000
LOOK_EVERY_MS = 200
_FIELD = "said"
LiveKind = Literal["text", "log"]


class _Said(msgspec.Struct, array_like=True, frozen=True):
    step_id: str
    entry: int
    attempt: int
    kind: LiveKind
    text: str


class LiveText(msgspec.Struct, frozen=True):
    """A piece of what an attempt said: `text` of a model, or whole lines of a program's `log`. `at`
    is its place in the run; pieces that were written together share one. `entry`: of a `foreach`,
    else -1."""

    at: str
    step_id: str
    attempt: int
    kind: LiveKind
    text: str
    entry: int = PLAIN


class _Pending:
    """What one run has said and nobody was told yet."""

    def __init__(self) -> None:
        self.chars = 0
        self._texts: dict[tuple[str, int, int, LiveKind], list[str]] = {}

    def add(self, place: AttemptPlace, kind: LiveKind, text: str) -> None:
        """In its order, for each attempt and kind."""
        self.chars += len(text)
        who = (*place.task, place.number, kind)
        self._texts.setdefault(who, []).append(text)

    def packed(self) -> bytes:
        """For one entry."""
        said = [_Said(*who, "".join(texts)) for who, texts in self._texts.items()]
        return _encode(said)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_Said]).decode


class Live:
    """Of all attempts of a process. `dropped_chars`: what did not get through."""

    def __init__(self, transport: LedgerTransport) -> None:
        self.dropped_chars = 0
        self._transport = transport
        self._pending: dict[str, _Pending] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def say(self, place: AttemptPlace, kind: LiveKind, text: str) -> None:
        """Never waits, and raises nothing."""
        pending = self._pending.setdefault(place.run.id, _Pending())
        kept = text[: PENDING_CHARS_MAX - pending.chars]
        self.dropped_chars += len(text) - len(kept)
        if kept:
            pending.add(place, kind, kept)
        if self._timer is None and self._writing is None:
            self._wait()

    async def close(self) -> None:
        """What was said until now is written, where the ledger takes it."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        if self._writing is not None:
            await self._writing
            await self._write()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(FLUSH_MS / 1000, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._writing = asyncio.create_task(self._write())
        self._writing.add_done_callback(self._written)

    def _written(self, _: "asyncio.Task[None]") -> None:
        """The next only now: a slow ledger gets fewer and not more."""
        self._writing = None
        if self._pending:
            self._wait()

    async def _write(self) -> None:
        pending, self._pending = self._pending, {}
        await asyncio.gather(*(self._put(run, each) for run, each in pending.items()))

    async def _put(self, run: str, pending: _Pending) -> None:
        key, command = key_of(run), self._transport.command
        try:
            await command(
                "XADD", key, "MAXLEN", "~", str(ENTRIES_MAX), "*", _FIELD, pending.packed()
            )
            await command("PEXPIRE", key, str(KEPT_MS))  # two at once may go by two connections
        except LedgerUnavailable:
            self.dropped_chars += pending.chars


def key_of(run: str) -> str:
    """Of a run's stream."""
    return f"comptroller:live:{run}"


async def follow(
    transport: LedgerTransport, run: str, after: str = "", wait_ms: int = WAIT_MS
) -> list[LiveText]:
    """What was said after this place (`at` of the last one that was read; empty: all that is kept),
    oldest first; waits `wait_ms` for it, and answers nothing then. Reads by looking again: a
    connection that blocks would hold up whatever else goes over it. Raises LedgerUnavailable."""
    deadline = asyncio.get_running_loop().time() + wait_ms / 1000
    while not (found := await _said_after(transport, run, after)):
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s <= 0:
            break
        await asyncio.sleep(min(left_s, LOOK_EVERY_MS / 1000))
    return found


async def _said_after(transport: LedgerTransport, run: str, after: str) -> list[LiveText]:
    start = f"({after}" if after else "-"
    found = await transport.command("XRANGE", key_of(run), start, "+", "COUNT", str(READ_AT_ONCE))
    assert isinstance(found, list)
    return [
        LiveText(place.decode(), each.step_id, each.attempt, each.kind, each.text, each.entry)
        for place, fields in found
        for each in _decode(fields[1])
    ]
