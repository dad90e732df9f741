"""The ledger's server as the simulated network reaches it: a real one, at virtual time.

Commands come over wires and are executed one after the other by a real valkey-server, over one
blocking socket, so that nothing but the scheduler decides their order. After each script the
books are shown what is there now.
"""

import socket
from collections import deque
from contextvars import Context
from pathlib import Path
from typing import Any

import hiredis

from budgets.embedded import EmbeddedServer
from budgets.scripts import Script
from tests.simulation.books import Books
from tests.simulation.clockwork import SimulatedLoop
from tests.simulation.network import Wire
from tests.simulation.trace import Trace
from tests.simulation.weather import Weather

CLOCK_KEY = "simulation:clock"
NOW_CHUNK = f"""
local function now()
  return tonumber(redis.call('GET', '{CLOCK_KEY}'))
end
"""
RUN_KEY = "simulation:run"
RUN_CHUNK = f"""
local function run_id()
  return redis.call('GET', '{RUN_KEY}')
end
"""
READ_ONLY = frozenset(("check", "due", "load"))
RECEIVED_BYTES = 1 << 18
STALL_S_MAX = 30.0
Copy = dict[bytes, tuple[int, bytes]]


class MemoryServer(EmbeddedServer):
    """valkey-server without a file: what the simulation calls a disk is a copy of the keys."""

    def _command(self) -> list[str]:
        command = super()._command()
        command[command.index("yes")] = "no"
        return command


class Line:
    """A blocking connection to the real server."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(STALL_S_MAX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """All replies, errors among them."""
        self._socket.sendall(b"".join(map(_packed, commands)))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(RECEIVED_BYTES))
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        """Lets go of the server."""
        self._socket.close()


class LedgerServer:
    """A `network.Server` that speaks Redis."""

    def __init__(
        self,
        loop: SimulatedLoop,
        line: Line,
        scripts: dict[str, Script],
        start_ms: int,
        books: Books,
        weather: Weather,
        trace: Trace,
    ) -> None:
        self.loop = loop
        self.line = line
        self.books = books
        self.weather = weather
        self.trace = trace
        self.wires: list[Wire] = []
        self._names = {each.sha: each.name for each in scripts.values()}
        self._texts = {each.text: each.name for each in scripts.values()}
        self._start_ms = start_ms
        self._clock_set_ms = -1
        self._readers: dict[int, hiredis.Reader] = {}
        self._queue: deque[tuple[Wire, list[bytes]]] = deque()
        self._pumping = False
        self._runs = 0
        self._accepted: set[int] = set()  # wires of this run
        self._start({})

    def now_ms(self) -> int:
        """The server's own clock."""
        return self._start_ms + int(self.loop.time() * 1000)

    # As a Server.

    def accepts(self, wire: Wire) -> bool:
        """Unless it is down."""
        if self.weather.ledger_refuses:
            return False
        self.wires = [each for each in self.wires if each.server_open]
        self.wires.append(wire)
        self._accepted.add(wire.number)
        return True

    def received(self, wire: Wire, data: bytes) -> None:
        """Whole commands join the queue."""
        if wire.number not in self._accepted:  # it was sent to the server before this one
            return
        reader = self._readers.get(wire.number)
        if reader is None:
            reader = self._readers[wire.number] = hiredis.Reader()
        reader.feed(data)
        while (command := reader.gets()) is not False:
            assert isinstance(command, list)
            self._queue.append((wire, command))
        self._pump()

    def lost(self, wire: Wire) -> None:
        """What it sent is still executed."""
        self._readers.pop(wire.number, None)

    def break_all(self) -> None:
        """Every connection breaks, as when the server is started again."""
        for wire in self.wires:
            if wire.server_open:
                wire.cut()

    # Its own.

    def _pump(self) -> None:
        if self._queue and not self._pumping:
            self._pumping = True
            when = max(self.loop.time(), self.weather.ledger_paused_until)
            self.loop.call_at(when, self._execute_next, context=Context())

    def _execute_next(self) -> None:
        self._pumping = False
        if self.loop.time() >= self.weather.ledger_paused_until and self._queue:
            wire, command = self._queue.popleft()
            self._execute(wire, command)
        self._pump()

    def _execute(self, wire: Wire, command: list[bytes]) -> None:
        if not wire.server_open:
            self.weather.tally["rare:executed without a connection"] += 1
        elif self.weather.strikes("ledger_request_lost"):
            wire.cut()
            return
        reply = self.run(command, wire.client_name)
        if not wire.server_open:
            return
        if self.weather.strikes("ledger_reply_lost"):
            wire.cut()
            return
        wire.reply(_encoded(reply))

    def run(self, command: list[bytes], who: str) -> Any:
        """Executes one command now, and shows the books what came of it."""
        name = command[0].upper()
        if name == b"WAITAOF":
            return [0 if self.weather.strikes("ledger_unsynced") else 1, 0]
        if name == b"INFO":
            return b"run_id:%040x\r\n" % self._runs
        if name == b"TIME":
            now_ms = self.now_ms()
            return [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)]
        if name in (b"EVALSHA", b"EVAL"):
            return self._script(name, command, who)
        reply = self.line.ask(tuple(command))[0]
        self.trace.note(who, "%s %s", name, command[1] if len(command) > 1 else b"")
        return reply

    def _script(self, verb: bytes, command: list[bytes], who: str) -> Any:
        known = self._names if verb == b"EVALSHA" else self._texts
        script = known[command[1]]
        count = int(command[2])
        keys, args = command[3 : 3 + count], command[3 + count :]
        organisation = keys[0].decode().partition("{")[2].partition("}")[0]
        commands: list[tuple[Any, ...]] = [tuple(command)]
        now_ms = self.now_ms()
        if now_ms != self._clock_set_ms:
            self._clock_set_ms = now_ms
            commands.insert(0, ("SET", CLOCK_KEY, now_ms))
        place = len(commands) - 1
        looks = script not in READ_ONLY
        if looks:
            commands += self.books.questions(organisation)
        replies = self.line.ask(*commands)
        reply = replies[place]
        self.trace.script(who, script, args, reply)
        if isinstance(reply, list):
            self.books.answered(organisation, script, args, reply)
            if looks:
                self.books.look(organisation, script, args, reply, replies[place + 1 :])
        elif not str(reply).startswith("NOSCRIPT"):
            self.books.fail(f"{script} answered {reply!r}")
        return reply

    # Accidents.

    def copied(self) -> Copy:
        """Everything, as a disk would have it."""
        (keys,) = self.line.ask(("KEYS", "*"))
        keys = sorted(each for each in keys if not each.startswith(b"simulation:"))
        dumps = self.line.ask(*(("DUMP", key) for key in keys)) if keys else []
        left_ms = self.line.ask(*(("PTTL", key) for key in keys)) if keys else []
        return {
            key: (max(0, ms), dump)
            for key, dump, ms in zip(keys, dumps, left_ms, strict=True)
            if dump is not None
        }

    def restart(self, copy: Copy | None = None) -> None:
        """It is started again: with all that it had, or with a copy. What was sent to it before is
        gone, and every connection breaks."""
        self._start(self.copied() if copy is None else copy)
        self._queue.clear()
        self._accepted.clear()
        self.break_all()

    def roll_back(self, copy: Copy) -> None:
        """It holds a copy from one command to the next; connections stay."""
        run = self._runs
        self._start(copy)
        self.line.ask(("SET", RUN_KEY, f"{run:040x}"))
        self._runs = run

    def _start(self, copy: Copy) -> None:
        self._runs += 1
        self._clock_set_ms = -1
        self.line.ask(
            ("FLUSHALL",),
            ("SCRIPT", "FLUSH"),
            ("SET", RUN_KEY, f"{self._runs:040x}"),
            *(("RESTORE", key, left_ms, dump) for key, (left_ms, dump) in copy.items()),
        )


def _packed(command: tuple[Any, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)
    return packed


def _encoded(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, list):
        return b"*%d\r\n%b" % (len(reply), b"".join(map(_encoded, reply)))
    return b"-%b\r\n" % str(reply).encode()
